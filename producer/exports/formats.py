"""The formats in which ``results`` writes rows. Apart, so that a command line reads no pyarrow."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal, get_args

Format = Literal["csv", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)


def format_of(path: str) -> Format | None:
    """The format that the ending of a path or URL says, in letters of any size; None for none."""
    ending = PurePosixPath(path).suffix.removeprefix(".").lower()
    return next((known for known in FORMATS if known == ending), None)
