"""Whether two precisions of a detector find the same objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.detectors import CANVAS, raw_arrays
from workers.inference.heads import NetworkOutputs, head_of
from workers.inference.layouts import LAYOUTS

BOXES = [
    (20, 20, 20, 20, 0.9, 1, 0),
    (70, 20, 20, 20, 0.5, 0, 1),
    (70, 70, 20, 20, 0.3, 1, 0),
    (20, 70, 20, 20, 0.1, 1, 0),
]
# How sure a network is of what it was not made for, such as plates in noise.
SCALES = [1, 1e-4]


def rows(boxes: Any, scale: float = 1) -> NetworkOutputs:
    array = np.array([boxes], np.float32)
    array[..., 4] *= scale
    return NetworkOutputs({"boxes": array}, "rows_with_objectness", (100, 100))


def agree(exact: NetworkOutputs, other: NetworkOutputs) -> list[bool]:
    found, back = (head_of("boxes").agreement(*pair) for pair in ((exact, other), (other, exact)))
    assert found is not None
    assert back is not None
    assert found.tolist() == back.tolist()
    return list(map(bool, found))


def changed(number: int, **columns: float) -> list[list[float]]:
    """The boxes, with one in which columns x, y, w, h, score, first or second differ."""
    boxes = [list(map(float, box)) for box in BOXES]
    names = ("x", "y", "w", "h", "score", "first", "second")
    for name, value in columns.items():
        boxes[number][names.index(name)] = value
    return boxes


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (BOXES, True),
        (BOXES[::-1], True),
        (changed(0, x=22, w=21, score=0.7), True),
        (changed(2, score=0.5), True),  # it is second, as another was
        (changed(3, x=40, second=1), True),  # it is none of the best
        (changed(0, x=32), False),
        (changed(1, first=1, second=0), False),
        (changed(0, score=0.4), False),
        (changed(3, score=1), False),
        (BOXES[1:], False),
    ],
)
def test_the_best_boxes_have_to_be_the_same(other: Any, expected: bool, scale: float) -> None:
    assert agree(rows(BOXES, scale), rows(other, scale)) == [expected]


@pytest.mark.parametrize("scale", SCALES)
def test_scores_that_are_much_lower_disagree(scale: float) -> None:
    assert agree(rows(BOXES, scale), rows(BOXES, 0.4 * scale)) == [False]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_agrees_with_itself_and_with_nothing_that_is_not_finite(layout: str) -> None:
    exact = NetworkOutputs(raw_arrays(layout), layout, CANVAS)
    arrays = raw_arrays(layout)
    for array in arrays.values():
        if array.dtype.kind == "f":
            array[1] = np.nan
    assert agree(exact, exact) == [True, True, True]
    broken = NetworkOutputs(arrays, layout, CANVAS)
    assert agree(exact, broken) == [True, False, True]
    assert agree(broken, broken) == [True, False, True]


def test_an_image_in_which_a_network_chose_nothing_shows_nothing() -> None:
    arrays = raw_arrays("final_boxes")
    arrays["box_scores"][2] = 0
    given = NetworkOutputs(arrays, "final_boxes", CANVAS)
    assert agree(given, given) == [True, True, False]


def test_a_network_without_boxes_has_no_agreement() -> None:
    scores = NetworkOutputs({"scores": np.zeros((1, 3), np.float32)})
    assert head_of("boxes").agreement(scores, rows(BOXES)) is None
