"""Parquet files that are small enough to be held in memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def encode(table: Any) -> bytes:
    """An Arrow table as a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, **writing_options(table.schema))
    return sink.getvalue()


def encode_groups(
    groups: Iterable[pa.Table], schema: pa.Schema, metadata: Callable[[], Mapping[str, str]]
) -> bytes:
    """Tables of that schema as one Parquet file, each as a row group as soon as it comes.

    ``metadata`` is called after the last, for what the footer says.
    """
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema, **writing_options(schema)) as writer:
        for table in groups:
            writer.write_table(table)
        writer.add_key_value_metadata(metadata())
    return sink.getvalue()


def writing_options(schema: pa.Schema) -> dict[str, Any]:
    """How tables of that schema are packed, as pyarrow's writers take it.

    Vectors have neither dictionaries nor statistics: their numbers do not repeat, and looking for
    that takes six times as long as writing them.
    """
    columns = [path for field in schema for path in _compact_columns(field.name, field.type)]
    return {"compression": "zstd", "use_dictionary": columns, "write_statistics": columns}


def _compact_columns(path: str, kind: pa.DataType) -> Iterator[str]:
    """The columns of Parquet that a field of Arrow becomes, but for those of vectors."""
    if pa.types.is_struct(kind):
        for field in kind:
            yield from _compact_columns(f"{path}.{field.name}", field.type)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _compact_columns(f"{path}.list.element", kind.value_type)
    elif not pa.types.is_fixed_size_list(kind):
        yield path


def decode_groups(data: bytes) -> Iterator[pa.Table]:
    """The row groups of a Parquet file, one decoded at a time. Raises as ``decode`` does."""
    file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)
    for number in range(file.num_row_groups):
        yield file.read_row_group(number, use_threads=False)


def decode(data: bytes) -> Any:
    """The Arrow table that a Parquet file holds. Raises pa.ArrowException and OSError.

    In one thread and at one go: the library's own ways to read are made for larger files.
    """
    return pq.ParquetFile(pa.BufferReader(data), pre_buffer=False).read(use_threads=False)
