"""Non-maximum suppression: of boxes that overlap and have one class, only the best is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def suppress(
    boxes: npt.NDArray[np.float32], classes: npt.NDArray[np.intp], overlap: float, most: int
) -> npt.NDArray[np.intp]:
    """Which boxes of one image are kept: their numbers, the best first, ``most`` of them.

    ``boxes``: (boxes, 4), x1, y1, x2, y2, the best first.
    ``overlap``: the share, of the area of both over that of either, above which they overlap.
    """
    corners = boxes.astype(np.float64)
    areas = area(corners)
    left = np.arange(len(boxes))
    kept: list[int] = []
    # One look at all that are left for each box that is kept, of which there are few.
    while left.size and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(int(best))
        shared = area(intersection(corners[left], corners[best]))
        covered = shared > overlap * (areas[left] + areas[best] - shared)
        left = left[~(covered & (classes[left] == classes[best]))]
    return np.array(kept, np.intp)


def intersection(boxes: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The boxes (…, 4) that two have in common; turned over where that is nothing."""
    first = np.maximum(boxes[..., :2], others[..., :2])
    last = np.minimum(boxes[..., 2:], others[..., 2:])
    return np.concatenate([first, last], axis=-1)


def area(boxes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The areas of boxes (…, 4); 0 for those that are turned over."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return np.asarray(sides[..., 0] * sides[..., 1])
