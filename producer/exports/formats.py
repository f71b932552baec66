"""The formats in which ``results`` writes rows. Apart, so that a command line reads no pyarrow."""

from __future__ import annotations

from typing import Literal, get_args

Format = Literal["csv", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
