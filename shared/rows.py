"""The table that users read: one row for each listed item, as Arrow.

``key`` is whole and without the bucket; ``width`` and ``height`` are pixels after orientation;
``status`` is ``ok`` or ``failed``. ``label`` and ``score`` repeat the first prediction.
``frame`` is null for still images. ``warning`` is null, or ``damaged_data`` where parts of the
picture are garbled or were filled up by the decoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import pyarrow as pa

from shared import parquet
from shared.messages import Result, ResultItem

PREDICTIONS = pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))

SCHEMA = pa.schema(
    [
        pa.field("job_id", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("frame", pa.int64()),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error_code", pa.string()),
        pa.field("error_message", pa.string()),
        pa.field("pipeline", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("engine", pa.string()),
        pa.field("label", pa.string()),
        pa.field("score", pa.float32()),
        pa.field("predictions", PREDICTIONS),
        pa.field("warning", pa.string()),
    ]
)


def table_of(result: Result) -> pa.Table:
    """The rows of one chunk's result, in the order of its items. Made by column, as Arrow is."""
    items, pipeline = result.items, result.pipeline
    bests = [item.predictions[0] if item.predictions else None for item in items]
    failures = [item.failure for item in items]

    def all_rows(value: str | None) -> list[str | None]:
        return [value] * len(items)

    columns: dict[str, list[Any]] = {
        "job_id": all_rows(result.job_id),
        "key": [item.item.key for item in items],
        "frame": [None] * len(items),
        "etag": [item.item.etag for item in items],
        "size": [item.item.size for item in items],
        "width": [item.width for item in items],
        "height": [item.height for item in items],
        "status": ["failed" if failure else "ok" for failure in failures],
        "error_code": [failure and failure.error_code.value for failure in failures],
        "error_message": [failure and failure.error_message for failure in failures],
        "pipeline": all_rows(pipeline.name),
        "model": all_rows(pipeline.model.name),
        "model_version": all_rows(pipeline.model.sha256),
        "engine": all_rows(result.engine),
        "label": [best and best.label for best in bests],
        "score": [best and best.score for best in bests],
        "warning": [item.warning for item in items],
    }
    arrays = {name: pa.array(values, SCHEMA.field(name).type) for name, values in columns.items()}
    arrays["predictions"] = _predictions(items)
    return pa.Table.from_arrays([arrays[name] for name in SCHEMA.names], schema=SCHEMA)


def _predictions(items: list[ResultItem]) -> pa.Array:
    """All predictions, one after another, and where each item's begin."""
    starts = [0, *accumulate(len(item.predictions) for item in items)]
    flat = [prediction for item in items for prediction in item.predictions]
    pairs = [
        pa.array([prediction.label for prediction in flat], pa.string()),
        pa.array([prediction.score for prediction in flat], pa.float32()),
    ]
    structs = pa.StructArray.from_arrays(pairs, fields=list(PREDICTIONS.value_type))
    return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), structs)


def to_parquet(table: pa.Table, metadata: dict[str, str], *, read_whole: bool = False) -> bytes:
    """Parquet bytes, with ``metadata`` in the footer under our names."""
    named = {f"headrace.{name}": value for name, value in metadata.items()}
    return parquet.encode(table.replace_schema_metadata(named), read_whole=read_whole)


def from_parquet(data: bytes) -> tuple[pa.Table, dict[str, str]]:
    """The table and our part of the footer's metadata."""
    table = parquet.decode(data)
    return table, own_metadata(table.schema.metadata)


def in_todays_columns(table: pa.Table) -> pa.Table:
    """The rows of a part of any version: columns that it does not have are null."""
    columns = [
        table[field.name] if field.name in table.schema.names else pa.nulls(len(table), field.type)
        for field in SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def own_metadata(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    """Our part of a footer's metadata, under our names."""
    return {
        name.decode().removeprefix("headrace."): value.decode()
        for name, value in (metadata or {}).items()
        if name.startswith(b"headrace.")
    }
