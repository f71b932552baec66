"""Values of rows as text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa

from shared.rows import iso_time

# So many rows at a time: as objects of Python, long vectors take eight times their bytes.
ROWS = 1000


def batches_of(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """The rows, few at a time."""
    yield from table.to_batches(max_chunksize=ROWS)


def as_json(value: Any, *, ascii_only: bool = True) -> str:
    """A value of a row, or a whole row, as JSON in one line."""
    return json.dumps(value, ensure_ascii=ascii_only, default=_plain)


def _plain(value: Any) -> str:
    return iso_time(value) if isinstance(value, datetime) else str(value)
