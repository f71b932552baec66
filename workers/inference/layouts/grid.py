"""The cells of a canvas for which networks of the YOLO family predict."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.placement import Size

# Pixels of the canvas from one cell to the next, a number for each of the network's scales.
Strides = tuple[int, ...]
USUAL: Strides = (8, 16, 32)
# The family's networks for small objects have a finer scale, those for large images a coarser one,
# and tiny ones leave one out.
STRIDES: tuple[Strides, ...] = (USUAL, (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))


def cell_count(canvas: Size, strides: Strides = USUAL) -> int:
    """How many cells a canvas has in all scales."""
    width, height = canvas
    return sum(-(-width // stride) * -(-height // stride) for stride in strides)


def is_anchor_count(side: int | None, canvas: Size, each: int) -> bool:
    """Whether a side of an array can be ``each`` boxes for every cell. None may be any number."""
    return side is None or side in {each * cell_count(canvas, strides) for strides in STRIDES}


@lru_cache(maxsize=16)
def cells(canvas: Size) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Of every cell its column and row (cells, 2), and its stride (cells, 1): float32.

    Scale by scale, the finest first, and row by row in each.
    """
    width, height = canvas
    places, strides = [], []
    for stride in USUAL:
        rows, columns = np.mgrid[: -(-height // stride), : -(-width // stride)]
        places.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(places).astype(np.float32), np.concatenate(strides).astype(np.float32)
