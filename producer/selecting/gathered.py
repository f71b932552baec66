"""Small tables joined into larger ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

# Long vectors reach the bytes first, and rows of a label the rows.
MAX_ROWS = 65_536
MAX_BYTES = 64 * 2**20


def gathered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables that end with the first one to reach a bound above."""
    held: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        held.append(table)
        rows, size = rows + table.num_rows, size + table.nbytes
        if rows >= MAX_ROWS or size >= MAX_BYTES:
            yield pa.concat_tables(held)
            held, rows, size = [], 0, 0
    if held:
        yield pa.concat_tables(held)
