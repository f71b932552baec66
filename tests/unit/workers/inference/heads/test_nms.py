"""Non-maximum suppression, against a loop over all pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from workers.inference.heads.nms import suppress


def slowly(boxes: Any, classes: Any, overlap: float, most: int) -> list[int]:
    kept: list[int] = []
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        for other in kept:
            left, top, right, bottom = boxes[other]
            width, height = min(x2, right) - max(x1, left), min(y2, bottom) - max(y1, top)
            shared = max(width, 0) * max(height, 0)
            both = (x2 - x1) * (y2 - y1) + (right - left) * (bottom - top) - shared
            if classes[number] == classes[other] and shared / both > overlap:
                break
        else:
            kept.append(number)
    return kept[:most]


@pytest.mark.parametrize("overlap", [0.1, 0.5, 0.75, 1.0])
def test_the_same_boxes_are_kept_as_by_a_slow_loop(overlap: float) -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        # Whole numbers, so that many are equal, and many shares are just the limit.
        corners = random.integers(0, 12, (120, 2))
        boxes = np.concatenate([corners, corners + random.integers(1, 9, (120, 2))], axis=1)
        classes = random.integers(0, 3, 120)
        for most in (5, 300):
            found = suppress(boxes.astype(np.float32), classes, overlap, most).tolist()
            assert found == slowly(boxes.tolist(), classes.tolist(), overlap, most)


def test_equal_boxes_leave_the_first() -> None:
    boxes = np.array([[1, 1, 5, 5]] * 4, np.float32)
    assert suppress(boxes, np.array([0, 0, 1, 0]), 0.5, 9).tolist() == [0, 2]


def test_of_nothing_nothing_is_kept() -> None:
    found = suppress(np.zeros((0, 4), np.float32), np.zeros(0, np.intp), 0.5, 9)
    assert found.tolist() == []
