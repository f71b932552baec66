"""Labelled images: the rows that ``coco`` and ``labelstudio`` are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from producer.exports.formats import LabelFormat
from producer.selecting.fields import boxes_columns, classes_columns, is_long
from shared.catalog.documents import suggestion
from shared.columns import FIXED_COLUMNS
from shared.errors import UsageError

# The place of a row among all of its job, from 1, whatever is selected of them.
NUMBER = "#"
_SHORT_COLUMNS = ("label", "score")
_ALWAYS = ("key", "uri", "width", "height", "pipeline", NUMBER)


@dataclass
class Labelled:
    """Images that did not fail, of rows that are numbered and then selected.

    ``analyses``: the columns that are written, of the long form. ``failed``: how many of the
    selected images were left out so far.
    """

    analyses: tuple[str, ...]
    failed: int = 0

    def written(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Of numbered rows those that are ok, and the columns that are written."""
        columns = [*_ALWAYS, *(self.analyses or _SHORT_COLUMNS)]
        for table in tables:
            good = table.filter(pc.equal(table["status"], "ok"))
            self.failed += table.num_rows - good.num_rows
            yield good.select(columns)


def numbered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """All rows of a job, with their ``NUMBER``."""
    first = 1
    for table in tables:
        numbers = pa.array(np.arange(first, first + table.num_rows), pa.int64())
        first += table.num_rows
        yield table.append_column(NUMBER, numbers)


def labelled(schema: pa.Schema, form: LabelFormat, analysis: str | None) -> Labelled:
    """What is written of rows with these columns; ``analysis``: the only one of them.

    Raises UsageError where the job has no such analysis, or ``coco`` would have to choose.
    """
    boxes = boxes_columns(schema)
    known = boxes if form == "coco" else [*classes_columns(schema), *boxes]
    if not is_long(schema) and analysis is None and form == "labelstudio":
        return Labelled(())
    if not known:
        wanted = "boxes" if form == "coco" else "boxes and no classes"
        raise UsageError(
            "nothing_to_label",
            f"The job has no {wanted} for --format {form}: {_analyses(schema)}.",
            "Say --format csv, jsonl or parquet.",
        )
    if analysis is not None and analysis not in known:
        hint = suggestion(analysis, known)
        raise UsageError(
            "no_such_analysis",
            f"--analysis: {analysis!r} is no analysis of the job for --format {form}.",
            f"{hint[0].upper()}{hint[1:]}{'' if hint.endswith('?') else '.'}",
        )
    if form == "coco" and analysis is None and len(known) > 1:
        raise UsageError(
            "which_analysis",
            f"The job has boxes of several analyses: {', '.join(known)}.",
            f"Say --analysis {known[0]}, for example.",
        )
    return Labelled((analysis,) if analysis else tuple(known))


def _analyses(schema: pa.Schema) -> str:
    own = [name for name in schema.names if name not in FIXED_COLUMNS]
    return f"its analyses are {', '.join(own)}" if own else "it has one label for each image"
