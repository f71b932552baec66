"""Classifiers among users' graphs: those that give one row of numbers for each image, or two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from workers.inference.graphs.wrapping import Output

SCORES, FEATURES = "scores", "features"


def classifier_outputs(outputs: Sequence[Output], labels: int | None) -> list[Output] | None:
    """The outputs under our names; None where the graph is no classifier.

    A single row of numbers is both its scores and its features: nothing in a graph says which it
    was made for, and the kind of analysis does. Of two, the scores are those of which there are as
    many as ``labels``, else the first.
    """
    rows = [_row(output) for output in outputs]
    if any(row is None for row in rows) or not 1 <= len(rows) <= 2:
        return None
    found = [row for row in rows if row is not None]
    if len(found) == 1:
        return [replace(found[0], name=SCORES), replace(found[0], name=FEATURES)]
    lengths = [row.given_shape[0] for row in found]
    first = 1 if lengths[0] != labels == lengths[1] else 0
    return [replace(found[first], name=SCORES), replace(found[1 - first], name=FEATURES)]


def _row(output: Output) -> Output | None:
    """The output without sides of 1 at its end; None where it is no row of numbers."""
    shape = list(output.shape)
    while len(shape) > 1 and shape[-1] == 1:
        shape.pop()
    if len(shape) != 1 or shape[0] is None or not output.is_batched:
        return None
    return replace(output, shape=tuple(shape), is_row=True)
