"""The table that users read: one row for each listed item, as Arrow. Its columns follow from the
pipeline.

In every form: ``key`` is whole and without the bucket, ``uri`` is with it, and ``name`` is what
comes after the last slash. ``width`` and ``height`` are pixels after orientation; ``status`` is
``ok`` or ``failed``. ``frame`` is null for still images. ``warning`` is null, or ``damaged_data``
where parts of the picture are garbled or were filled up by the decoder. ``scored_at`` is when the
answer was computed, null where the item failed.

In the short form ``label``, ``score`` and ``class_index`` are those of the first of the
``predictions``. In the long form these columns, ``model``, ``model_version`` and ``engine`` are
null; each analysis has a column under its name, and ``models`` says what computed it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from shared import parquet
from shared.analyses.classes import predictions_type
from shared.columns import FIRST_COLUMNS, MODELS_COLUMN
from shared.job import EngineUsed
from shared.pipeline import Pipeline

_MODEL_FIELDS = ("analysis", "model", "version", "engine", "precision")
MODELS = pa.list_(pa.struct([(name, pa.string()) for name in _MODEL_FIELDS]))
_TYPES: dict[str, pa.DataType] = {
    **{"frame": pa.int64(), "size": pa.int64(), "width": pa.int32(), "height": pa.int32()},
    **{"score": pa.float32(), "predictions": predictions_type(), "class_index": pa.int32()},
    "scored_at": pa.timestamp("ms", "UTC"),
}
# Of the short form; in the long form the model is null.
_NEVER_NULL = frozenset(("job_id", "key", "etag", "size", "status", "pipeline", "uri", "name"))
_MODEL_COLUMNS = frozenset(("model", "model_version"))


def rows_schema(pipeline: Pipeline) -> pa.Schema:
    """The columns of a pipeline's rows."""
    is_short = pipeline.form == "short"
    fields = [*_first_columns(_NEVER_NULL | _MODEL_COLUMNS if is_short else _NEVER_NULL)]
    if not is_short:
        fields += [pa.field(name, a.column_type()) for name, a in pipeline.analyses.items()]
        fields.append(pa.field(MODELS_COLUMN, MODELS))
    return pa.schema(fields)


@cache
def _first_columns(never_null: frozenset[str]) -> tuple[pa.Field, ...]:
    return tuple(
        pa.field(name, _TYPES.get(name, pa.string()), nullable=name not in never_null)
        for name in FIRST_COLUMNS
    )


# Of jobs of earlier versions, whose rows may lack any of them: the short form.
PAST_SCHEMA = pa.schema(_first_columns(frozenset()))


def in_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows of a part with the columns of ``schema``: those that it does not have are null."""
    columns = [
        table[field.name] if field.name in table.schema.names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


class Answered(Protocol):
    """What rows are made of, beside what is listed: a result, or what is kept of it."""

    @property
    def job_id(self) -> str: ...

    @property
    def bucket(self) -> str: ...

    @property
    def pipeline(self) -> Pipeline: ...

    @property
    def answers(self) -> pa.RecordBatch: ...

    @property
    def computed(self) -> Mapping[str, EngineUsed | None]: ...

    @property
    def scored_at(self) -> float: ...


def table_of(result: Answered, listed: pa.Table) -> pa.Table:
    """The rows of one chunk's result, in the order of its items.

    ``listed``: the ``key``, ``etag`` and ``size`` of the items, as the manifest has them.
    """
    pipeline, answers = result.pipeline, result.answers
    schema, count = rows_schema(pipeline), len(answers)
    failed = count - answers["error_code"].null_count
    is_good = answers["error_code"].is_null() if failed else None
    keys = listed["key"].to_pylist()
    scored_at = pa.scalar(round(result.scored_at * 1000), _TYPES["scored_at"])
    found: dict[str, Any] = {
        **{name: answers[name] for name in ("width", "height", "warning")},
        **{name: answers[name] for name in ("error_code", "error_message")},
        **{name: listed[name] for name in ("key", "etag", "size")},
        "job_id": pa.repeat(result.job_id, count),
        "pipeline": pa.repeat(pipeline.name, count),
        "status": pc.if_else(is_good, "ok", "failed") if failed else pa.repeat("ok", count),
        "uri": pa.array([f"s3://{result.bucket}/{key}" for key in keys], pa.string()),
        "name": pa.array([key.rpartition("/")[2] for key in keys], pa.string()),
        "scored_at": (
            pc.if_else(is_good, scored_at, pa.scalar(None, scored_at.type))
            if failed
            else pa.repeat(scored_at, count)
        ),
        **(_short_columns(result) if pipeline.form == "short" else _long_columns(result)),
    }
    arrays = [
        found[field.name] if field.name in found else pa.nulls(count, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _short_columns(result: Answered) -> dict[str, Any]:
    (name, analysis), *_ = result.pipeline.analyses.items()
    model, used, count = result.pipeline.model_of(name), result.computed[name], len(result.answers)
    return {
        "model": pa.repeat(model.name, count),
        "model_version": pa.repeat(model.sha256, count),
        "engine": pa.repeat(pa.scalar(used and used.engine, pa.string()), count),
        **analysis.fixed_columns(result.answers[name]),
    }


def _long_columns(result: Answered) -> dict[str, Any]:
    pipeline, models = result.pipeline, []
    for name, used in result.computed.items():
        model = pipeline.model_of(name)
        entry = {"analysis": name, "model": model.name, "version": model.sha256}
        models.append({**entry, **(used.engine_fields() if used else {})})
    own = {name: a.column(result.answers[name]) for name, a in pipeline.analyses.items()}
    shown = [{name: entry.get(name) for name in _MODEL_FIELDS} for entry in models]
    return {**own, MODELS_COLUMN: pa.repeat(pa.scalar(shown, MODELS), len(result.answers))}


def to_parquet(
    groups: Iterable[pa.Table], schema: pa.Schema, metadata: Callable[[], Mapping[str, str]]
) -> bytes:
    """Parquet bytes of tables, a row group each; what ``metadata`` gives is in the footer.

    ``metadata`` is called after the last table. Its names have ``headrace.`` before them there.
    """
    return parquet.encode_groups(
        groups, schema, lambda: {f"headrace.{name}": text for name, text in metadata().items()}
    )


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


def iso_time(time: datetime) -> str:
    """A row's time as text, as in ISO 8601: ``2026-11-28T10:55:09.123Z``."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
