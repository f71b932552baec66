"""Writes tables into hand-written pages, each between two marks."""

from __future__ import annotations

_END = "<!-- End of the table. -->\n"


def with_table(page: str, table: str, command: str) -> str:
    """The page with this table between its marks; ``command`` is the one that writes it."""
    begin = f"<!-- The table is written by `{command}`. -->\n"
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(_END)
    if not found or not ended:
        raise ValueError(f"the page lacks the marks of the table that `{command}` writes")
    return f"{before}{begin}\n{table}\n{_END}{after}"
