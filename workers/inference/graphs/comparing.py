"""Compares the numbers that two graphs give for the same images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.inference.engines.port import Images
from workers.inference.graphs.running import Runnable

Array = npt.NDArray[Any]

# The same operators on the same numbers, in float32.
TOLERANCE = 1e-3
# Rounding makes smaller numbers differ by more than their share.
_SMALLEST = 1e-2


def answers_alike(
    graph: Runnable,
    images: Images,
    expected: Mapping[str, Array],
    *,
    together: bool,
    tolerance: float = TOLERANCE,
) -> bool:
    """Whether a graph of ours gives ``expected`` for the images, ``together`` or one by one.

    ``expected``: by the names of the outputs, each with one entry for each image.
    """
    found = graph.run(images) if together else graph.run_singly(images)
    return all(
        worst_difference(found[name], wanted) < tolerance
        and not (together and are_mixed(found[name], wanted))
        for name, wanted in expected.items()
    )


def worst_difference(found: Array, expected: Array) -> float:
    """The largest difference of arrays (images, ...), as a share of the largest around it.

    Those are the numbers of the same row, and of the same column: one array may have
    coordinates of hundreds of pixels beside scores below 1. Infinite where the shapes differ, or a
    number is not finite.
    """
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    wide, given = expected.astype(np.float64), found.astype(np.float64)
    return max(_worst(given, wide, axis) for axis in range(1, max(2, wide.ndim)))


def are_mixed(found: Array, expected: Array) -> bool:
    """Whether an image may have another's numbers: they are not clearly nearer to its own."""
    for number, one in enumerate(found):
        own = _largest(one - expected[number])
        others = [_largest(one - each) for place, each in enumerate(expected) if place != number]
        if own > 0 and own > min(others, default=np.inf) / 2:
            return True
    return False


def _worst(found: Array, expected: Array, axis: int) -> float:
    """``axis``: along which each entry is measured apart, where there are several axes."""
    others = None
    if expected.ndim > 2:
        others = tuple(each for each in range(expected.ndim) if each != axis)
    largest = np.abs(expected).max(axis=others, keepdims=True, initial=_SMALLEST)
    return float((np.abs(found - expected) / largest).max(initial=0))


def _largest(array: Array) -> float:
    return float(np.abs(array).max(initial=0))
