"""Corners of boxes, and scores of classes beside them: SSD, RetinaNet and similar networks.

Two arrays for an image: ``boxes`` (boxes, 4), x1, y1, x2, y2 in pixels of the canvas, and
``box_scores`` (boxes, classes), from 0 to 1. There is one column for each label, and none for the
background. The layout ``normalised_boxes_and_scores`` has the corners as shares of the canvas, from
0 to 1.

Values tell these two apart. Nothing tells y1, x1, y2, x2 from x1, y1, x2, y2: a format that knows
that its networks have y first, as TensorFlow's do, swaps them in the graph, and any other file with
y first gives wrong boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shared.placement import Size
from workers.inference.layouts.port import Arrays, Candidates
from workers.inference.layouts.values import (
    Numbers,
    are_probabilities,
    are_spread,
    by_class,
    spoiled_share,
)

_CORNERS = 4
Shape = Sequence[int | None]


class BoxesAndScores:
    """See the module. ``is_normalised``: whether corners are shares of the canvas."""

    is_final = False
    is_decoded = True

    def __init__(self, *, is_normalised: bool) -> None:
        self._is_normalised = is_normalised

    def names(self, shapes: Sequence[Shape], canvas: Size) -> list[str] | None:  # noqa: ARG002 - any
        """See ``Layout``. Boxes may have a side of 1 in their middle, as YOLOv4's do."""
        if len(shapes) != 2:
            return None
        if _go_together(*shapes):
            return ["boxes", "box_scores"]
        return ["box_scores", "boxes"] if _go_together(*shapes[::-1]) else None

    def fits(self, arrays: Arrays, canvas: Size) -> bool:
        """See ``Layout``."""
        boxes = self._in_pixels(_flat(arrays["boxes"]), canvas)
        if not are_probabilities(arrays["box_scores"]):
            return False
        centres = (boxes[..., :2] + boxes[..., 2:]) / 2
        # Shares that are taken for pixels all lie in one corner.
        return bool((boxes[..., :2] <= boxes[..., 2:]).all()) and are_spread(centres, canvas)

    def classes(self, arrays: Arrays) -> int | None:
        """See ``Layout``."""
        return int(arrays["box_scores"].shape[2])

    def candidates(self, arrays: Arrays, canvas: Size, min_score: float) -> Candidates:
        """See ``Layout``."""
        images, places, scores, classes = by_class(arrays["box_scores"], min_score)
        boxes = self._in_pixels(_flat(arrays["boxes"])[images, places], canvas)
        return Candidates(images, boxes.astype(np.float32), scores.astype(np.float32), classes)

    def spoiled(self, arrays: Arrays) -> npt.NDArray[np.float64]:
        """See ``Layout``."""
        return spoiled_share(_flat(arrays["boxes"]), arrays["box_scores"])

    def _in_pixels(self, corners: Numbers, canvas: Size) -> Numbers:
        if not self._is_normalised:
            return corners
        with np.errstate(over="ignore"):
            return corners * np.array([*canvas, *canvas], np.float32)


def _flat(boxes: Numbers) -> Numbers:
    """Corners (images, boxes, 4), where they may have a side of 1 in their middle."""
    return boxes.reshape(len(boxes), -1, _CORNERS)


def _go_together(boxes: Shape, scores: Shape) -> bool:
    """Whether they can be the shapes of boxes and their scores."""
    if len(scores) != 2 or len(boxes) not in (2, 3) or boxes[-1] != _CORNERS:
        return False
    are_as_many = None in (boxes[0], scores[0]) or boxes[0] == scores[0]
    return are_as_many and list(boxes[1:-1]) in ([], [1])


LAYOUT = BoxesAndScores(is_normalised=False)
