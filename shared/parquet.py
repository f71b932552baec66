"""Parquet files that are small enough to be held in memory."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def encode(table: Any) -> bytes:
    """An Arrow table as a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def decode(data: bytes) -> Any:
    """The Arrow table that a Parquet file holds. Raises pa.ArrowException and OSError.

    In one thread and at one go: the library's own ways to read are made for larger files.
    """
    return pq.ParquetFile(pa.BufferReader(data), pre_buffer=False).read(use_threads=False)
