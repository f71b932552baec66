"""Rows as CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv

from producer.exports.texts import as_json, batches_of
from shared.rows import iso_time


def write_csv(tables: Iterable[pa.Table], schema: pa.Schema, file: IO[bytes]) -> int:
    """With a header; nested values become JSON text. Returns the number of rows."""
    flat = pa.schema([_flat_field(field) for field in schema])
    count = 0
    with pyarrow.csv.CSVWriter(file, flat) as writer:
        for table in tables:
            for batch in batches_of(table):
                columns = [_flat(column) for column in batch.columns]
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=flat))
            count += table.num_rows
    return count


def _flat_field(field: pa.Field) -> pa.Field:
    is_text = pa.types.is_nested(field.type) or pa.types.is_timestamp(field.type)
    return pa.field(field.name, pa.string()) if is_text else field.with_nullable(True)


def _flat(column: pa.Array) -> pa.Array:
    if pa.types.is_nested(column.type):
        return _texts(column, as_json)
    return _texts(column, iso_time) if pa.types.is_timestamp(column.type) else column


def _texts(column: pa.Array, text_of: Callable[[Any], str]) -> pa.Array:
    values = column.to_pylist()
    return pa.array([None if v is None else text_of(v) for v in values], pa.string())
