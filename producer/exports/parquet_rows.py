"""Rows as one Parquet file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from shared.rows import SCHEMA


def write_parquet(tables: Iterable[pa.Table], file: IO[bytes]) -> int:
    """Returns the number of rows."""
    count = 0
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
            count += table.num_rows
    return count
