"""Boxes in pixels with an objectness: YOLOv5 and v7, Darknet's, and YOLOX exported with decoding.

One array (boxes, 5 + classes) for an image: the box's centre x and y, its width and height, in
pixels of the canvas, its objectness and the scores of the classes, both from 0 to 1. There are
three boxes for each cell, or one in YOLOX.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shared.placement import Size
from workers.inference.layouts.grid import is_anchor_count
from workers.inference.layouts.port import Arrays, Candidates
from workers.inference.layouts.values import (
    are_probabilities,
    are_spread,
    from_centres,
    has_objectness,
    spoiled_share,
    with_objectness,
)

_OTHER_COLUMNS = 5
_BOXES_A_CELL = (3, 1)


class RowsWithObjectness:
    """See the module."""

    is_final = False
    is_decoded = True

    def names(self, shapes: Sequence[Sequence[int | None]], canvas: Size) -> list[str] | None:
        """See ``Layout``."""
        if len(shapes) != 1 or len(shapes[0]) != 2:
            return None
        rows, columns = shapes[0]
        if columns is not None and columns <= _OTHER_COLUMNS:
            return None
        fits = any(is_anchor_count(rows, canvas, each) for each in _BOXES_A_CELL)
        return ["boxes"] if fits else None

    def fits(self, arrays: Arrays, canvas: Size) -> bool:
        """See ``Layout``."""
        rows = arrays["boxes"]
        if not are_probabilities(rows[..., 4:]) or not (rows[..., 2:4] >= 0).all():
            return False
        is_certain = is_anchor_count(rows.shape[1], canvas, 3)  # no other has so many
        return (is_certain or has_objectness(rows)) and are_spread(rows[..., :2], canvas)

    def classes(self, arrays: Arrays) -> int | None:
        """See ``Layout``."""
        return int(arrays["boxes"].shape[2]) - _OTHER_COLUMNS

    def candidates(
        self,
        arrays: Arrays,
        canvas: Size,  # noqa: ARG002 - it is in pixels already
        min_score: float,
    ) -> Candidates:
        """See ``Layout``."""
        rows = arrays["boxes"]
        images, places, scores, classes = with_objectness(rows, min_score)
        found = rows[images, places, :4]
        return from_centres(images, found[:, :2], found[:, 2:], scores, classes)

    def spoiled(self, arrays: Arrays) -> npt.NDArray[np.float64]:
        """See ``Layout``."""
        return spoiled_share(arrays["boxes"])


LAYOUT = RowsWithObjectness()
