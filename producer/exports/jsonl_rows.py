"""Rows as JSON, one line each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import IO

import pyarrow as pa


def write_jsonl(tables: Iterable[pa.Table], file: IO[bytes]) -> int:
    """Returns the number of rows."""
    count = 0
    for table in tables:
        for row in table.to_pylist():
            line = json.dumps(row, ensure_ascii=False)
            if not line.isprintable():  # some readers end lines at other characters, too
                line = json.dumps(row)
            file.write(line.encode() + b"\n")
        count += table.num_rows
    return count
