"""``--min-score``: without what a network was less sure of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from producer.selecting.fields import boxes_columns, classes_columns, is_long
from shared.analyses.classes import Classes
from shared.errors import UsageError
from shared.pipeline import Pipeline


def check_min_score(lowest: float, schema: pa.Schema, pipeline: Pipeline | None) -> None:
    """Raises UsageError where it is not a score, or such rows have none.

    ``pipeline``: of the rows, if it is known.
    """
    if not math.isfinite(lowest):
        raise UsageError("bad_score", f"--min-score: {lowest} is not a score.", "")
    if is_long(schema) and not boxes_columns(schema) and not classes_columns(schema):
        raise UsageError(
            "no_scores",
            "--min-score: none of the job's analyses gives scores.",
            "Those of kind 'classes' and 'boxes' do.",
        )
    if pipeline and _are_shares(pipeline) and not 0 <= lowest <= 1:
        raise UsageError(
            "bad_score",
            f"--min-score: the job's scores are from 0 to 1, and {lowest:g} is not.",
            "Say --min-score 0.5, for example.",
        )


def _are_shares(pipeline: Pipeline) -> bool:
    """Whether all scores are from 0 to 1; a user's class and logits may have any."""
    return not pipeline.has_class and all(
        each.softmax for each in pipeline.analyses.values() if isinstance(each, Classes)
    )


def with_min_score(tables: Iterable[pa.Table], lowest: float) -> Iterator[pa.Table]:
    """In the short form the rows that score so much; in the long form all rows, with only those of
    their boxes and predictions.
    """
    # As the scores are: float32 has no 0.7, and what a row shows as 0.7 is not below it.
    bound = pa.scalar(lowest, pa.float32())
    for table in tables:
        if not is_long(table.schema):
            yield table.filter(pc.greater_equal(table["score"], bound))
            continue
        changed = table
        for name in boxes_columns(table.schema):
            changed = _replaced(changed, name, _kept(table[name].combine_chunks(), bound))
        for name in classes_columns(table.schema):
            changed = _replaced(changed, name, _likely(table[name].combine_chunks(), bound))
        yield changed


def _replaced(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), column)


def _kept(lists: pa.ListArray, bound: pa.Scalar) -> pa.ListArray:
    """Lists of what has a ``score``, without what is below the bound."""
    parents, flat = pc.list_parent_indices(lists).to_numpy(), lists.flatten()
    keep = _are_enough(pc.struct_field(flat, "score"), bound)
    counts = np.bincount(parents[keep], minlength=len(lists))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    return pa.ListArray.from_arrays(
        offsets, flat.filter(pa.array(keep)), type=lists.type, mask=lists.is_null()
    )


def _likely(classes: pa.StructArray, bound: pa.Scalar) -> pa.StructArray:
    """The best label and all predictions, as far as they are not below the bound."""
    fields = {field.name: pc.struct_field(classes, field.name) for field in classes.type}
    keep = pa.array(_are_enough(fields["score"], bound))
    for name in ("label", "score"):
        fields[name] = pc.if_else(keep, fields[name], pa.scalar(None, fields[name].type))
    fields["predictions"] = _kept(fields["predictions"], bound)
    return pa.StructArray.from_arrays(
        list(fields.values()), fields=list(classes.type), mask=classes.is_null()
    )


def _are_enough(scores: pa.Array, bound: pa.Scalar) -> npt.NDArray[np.bool_]:
    found = pc.fill_null(pc.greater_equal(scores, bound), False)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)
