"""Rows as JSON, one line each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

import pyarrow as pa

from producer.exports.texts import as_json, batches_of


def write_jsonl(tables: Iterable[pa.Table], _schema: pa.Schema, file: IO[bytes]) -> int:
    """Returns the number of rows."""
    count = 0
    for table in tables:
        for row in (row for batch in batches_of(table) for row in batch.to_pylist()):
            line = as_json(row, ascii_only=False)
            if not line.isprintable():  # some readers end lines at other characters, too
                line = as_json(row)
            file.write(line.encode() + b"\n")
        count += table.num_rows
    return count
