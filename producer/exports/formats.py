"""The formats in which ``results`` writes rows. Apart, so that a command line reads no pyarrow."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal, get_args

# Of whole rows, each with an ending of its own.
Format = Literal["csv", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
# Of what images were labelled with; both are JSON.
LabelFormat = Literal["coco", "labelstudio"]
LABEL_FORMATS: tuple[LabelFormat, ...] = get_args(LabelFormat)
AnyFormat = Literal[Format, LabelFormat]
ANY_FORMAT: tuple[AnyFormat, ...] = (*FORMATS, *LABEL_FORMATS)


def format_of(path: str) -> Format | None:
    """The format that the ending of a path or URL says, in letters of any size; None for none."""
    ending = PurePosixPath(path).suffix.removeprefix(".").lower()
    return next((known for known in FORMATS if known == ending), None)
