"""Boxes in pixels without an objectness: YOLOv8, v9 and 11.

One array (4 + classes, cells) for an image: the box's centre x and y, its width and height, in
pixels of the canvas, and the scores of the classes, from 0 to 1. The layout ``yolov8_rows`` has it
as (cells, 4 + classes).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shared.placement import Size
from workers.inference.layouts.grid import is_anchor_count
from workers.inference.layouts.port import Arrays, Candidates
from workers.inference.layouts.values import (
    Numbers,
    are_probabilities,
    are_spread,
    by_class,
    from_centres,
    has_objectness,
    spoiled_share,
)

_OTHER_COLUMNS = 4


class Yolov8:
    """See the module. ``has_rows``: whether each cell has a row of its own."""

    is_final = False
    is_decoded = True

    def __init__(self, *, has_rows: bool) -> None:
        self._has_rows = has_rows

    def names(self, shapes: Sequence[Sequence[int | None]], canvas: Size) -> list[str] | None:
        """See ``Layout``."""
        if len(shapes) != 1 or len(shapes[0]) != 2:
            return None
        cells, columns = shapes[0] if self._has_rows else shapes[0][::-1]
        has_columns = columns is None or columns > _OTHER_COLUMNS
        return ["boxes"] if has_columns and is_anchor_count(cells, canvas, 1) else None

    def fits(self, arrays: Arrays, canvas: Size) -> bool:
        """See ``Layout``."""
        rows = self._rows(arrays)
        if not are_probabilities(rows[..., 4:]) or not (rows[..., 2:4] >= 0).all():
            return False
        return not has_objectness(rows) and are_spread(rows[..., :2], canvas)

    def classes(self, arrays: Arrays) -> int | None:
        """See ``Layout``."""
        return int(self._rows(arrays).shape[2]) - _OTHER_COLUMNS

    def candidates(
        self,
        arrays: Arrays,
        canvas: Size,  # noqa: ARG002 - it is in pixels already
        min_score: float,
    ) -> Candidates:
        """See ``Layout``."""
        rows = self._rows(arrays)
        images, places, scores, classes = by_class(rows[..., 4:], min_score)
        found = rows[images, places, :4]
        return from_centres(images, found[:, :2], found[:, 2:], scores, classes)

    def spoiled(self, arrays: Arrays) -> npt.NDArray[np.float64]:
        """See ``Layout``."""
        return spoiled_share(self._rows(arrays))

    def _rows(self, arrays: Arrays) -> Numbers:
        """The array as (images, cells, 4 + classes)."""
        boxes = arrays["boxes"]
        return boxes if self._has_rows else boxes.transpose(0, 2, 1)


LAYOUT = Yolov8(has_rows=False)
