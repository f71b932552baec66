"""Result rows as a table: what came of each image, in short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from producer.cli.output import table

if TYPE_CHECKING:
    from shared.analyses import Analysis
    from shared.pipeline import Pipeline

# Headings with what stands below them; an analysis may have any name.
Columns = list[tuple[str, Callable[[dict[str, Any]], object]]]


def show_rows(
    rows: Sequence[tuple[str, dict[str, Any]]], pipeline: Pipeline | None, heading: str = "KEY"
) -> None:
    """A line for each row, which begins with its name.

    ``pipeline``: None where another version of headrace made the rows. ``heading``: of the names.
    """
    shown: Columns = [("STATUS", lambda row: row["status"]), *_columns(pipeline), ("NOTE", _note)]
    lines = [[name, *(cell(row) for _, cell in shown)] for name, row in rows]
    table([heading, *(column for column, _ in shown)], lines)


def _columns(pipeline: Pipeline | None) -> Columns:
    """What is shown of a row, beside its name, its status and a note."""
    if pipeline is not None and pipeline.form == "long":
        analyses = pipeline.analyses
        return [(name.upper(), partial(_value, name, each)) for name, each in analyses.items()]
    return [("LABEL", lambda row: _cut(row["label"])), ("SCORE", _score)]


def _score(row: dict[str, Any]) -> str | None:
    return None if row["score"] is None else f"{row['score']:.4f}"


def _value(name: str, analysis: Analysis, row: dict[str, Any]) -> str | None:
    return None if row[name] is None else _cut(analysis.in_short(row[name]))


def _note(row: dict[str, Any]) -> str | None:
    if row["error_code"]:
        return f"{row['error_code']}: {row['error_message']}"
    return f"warning: {row['warning']}" if row["warning"] else None


def _cut(text: str | None) -> str | None:
    """It may be a whole caption."""
    return f"{text[:59]}…" if text is not None and len(text) > 60 else text
