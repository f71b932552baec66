"""YOLOX as it is usually exported: what it predicts for every cell, relative to the cell.

One array (cells, 5 + classes) for an image, with the cells of strides 8, 16 and 32. The columns are
the box's centre in cells from the cell's corner, the logarithm of its width and height in cells,
the objectness and the scores of the classes, both from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shared.placement import Size
from workers.inference.layouts.grid import cell_count, cells
from workers.inference.layouts.port import Arrays, Candidates
from workers.inference.layouts.values import (
    are_probabilities,
    are_spread,
    from_centres,
    spoiled_share,
    with_objectness,
)

_OTHER_COLUMNS = 5
# Most centres are within so many cells of their own. In pixels, most would be far more.
_MAX_CELLS = 4


class Yolox:
    """See the module."""

    is_final = False
    is_decoded = False

    def names(self, shapes: Sequence[Sequence[int | None]], canvas: Size) -> list[str] | None:
        """See ``Layout``."""
        if len(shapes) != 1 or len(shapes[0]) != 2:
            return None
        rows, columns = shapes[0]
        has_cells = rows is None or rows == cell_count(canvas)
        return ["boxes"] if has_cells and (columns is None or columns > _OTHER_COLUMNS) else None

    def fits(self, arrays: Arrays, canvas: Size) -> bool:
        """See ``Layout``. Nowhere near all numbers of a box are from 0 to 1, as those of the other
        layouts may be."""
        rows = arrays["boxes"]
        if rows.shape[1] != cell_count(canvas) or not are_probabilities(rows[..., 4:]):
            return False
        if are_probabilities(rows[..., :4]) or np.median(np.abs(rows[..., :2])) > _MAX_CELLS:
            return False
        places, strides = cells(canvas)
        return are_spread((rows[..., :2] + places) * strides, canvas)

    def classes(self, arrays: Arrays) -> int | None:
        """See ``Layout``."""
        return int(arrays["boxes"].shape[2]) - _OTHER_COLUMNS

    def candidates(self, arrays: Arrays, canvas: Size, min_score: float) -> Candidates:
        """See ``Layout``."""
        rows = arrays["boxes"]
        images, places, scores, classes = with_objectness(rows, min_score)
        found, (corners, strides) = rows[images, places, :4], cells(canvas)
        with np.errstate(over="ignore"):  # a box so large is not finite, which the head looks at
            centres = (found[:, :2] + corners[places]) * strides[places]
            sizes = np.exp(found[:, 2:]) * strides[places]
        return from_centres(images, centres, sizes, scores, classes)

    def spoiled(self, arrays: Arrays) -> npt.NDArray[np.float64]:
        """See ``Layout``."""
        rows = arrays["boxes"]
        with np.errstate(over="ignore"):
            return spoiled_share(rows, np.exp(rows[..., 2:4]))


LAYOUT = Yolox()
