"""The table that users read: one row for each listed item, as Arrow.

``key`` is whole and without the bucket; ``width`` and ``height`` are pixels after orientation;
``status`` is ``ok`` or ``failed``. ``label`` and ``score`` repeat the first prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    ]
)


def _row(result: Result, item: ResultItem) -> dict[str, Any]:
    failure, best = item.failure, item.predictions[0] if item.predictions else None
    return {
        "job_id": result.job_id,
        "key": item.item.key,
        "frame": None,
        "etag": item.item.etag,
        "size": item.item.size,
        "width": item.width,
        "height": item.height,
        "status": "failed" if failure else "ok",
        "error_code": failure.error_code.value if failure else None,
        "error_message": failure.error_message if failure else None,
        "pipeline": result.pipeline.name,
        "model": result.pipeline.model.name,
        "model_version": result.pipeline.model.sha256,
        "engine": result.engine,
        "label": best.label if best else None,
        "score": best.score if best else None,
        "predictions": [{"label": p.label, "score": p.score} for p in item.predictions],
    }


def table_of(result: Result) -> pa.Table:
    """The rows of one chunk's result, in the order of its items."""
    return pa.Table.from_pylist([_row(result, item) for item in result.items], schema=SCHEMA)


def to_parquet(table: pa.Table, metadata: dict[str, str], *, read_whole: bool = False) -> bytes:
    """Parquet bytes, with ``metadata`` in the footer under our names."""
    named = {f"headrace.{name}": value for name, value in metadata.items()}
    return parquet.encode(table.replace_schema_metadata(named), read_whole=read_whole)


def from_parquet(data: bytes) -> tuple[pa.Table, dict[str, str]]:
    """The table and our part of the footer's metadata."""
    table = parquet.decode(data)
    return table, own_metadata(table.schema.metadata)


def own_metadata(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    """Our part of a footer's metadata, under our names."""
    return {
        name.decode().removeprefix("headrace."): value.decode()
        for name, value in (metadata or {}).items()
        if name.startswith(b"headrace.")
    }
