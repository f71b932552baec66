"""Rows as one Parquet file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from producer.selecting.gathered import gathered
from shared.parquet import writing_options


def write_parquet(tables: Iterable[pa.Table], schema: pa.Schema, file: IO[bytes]) -> int:
    """Returns the number of rows."""
    count = 0
    with pq.ParquetWriter(file, schema, **writing_options(schema)) as writer:
        for table in gathered(tables):  # a row group each
            writer.write_table(table)
            count += table.num_rows
    return count
