"""The port ``Layout``: it finds boxes in the raw arrays of a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from shared.placement import Size

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes of a batch that may be objects, in any order. All arrays have one entry for each.

    A box is here once for each of its classes with a score that is high enough.

    ``images``: the number of its image in the batch.
    ``boxes``: float32 (candidates, 4), x1, y1, x2, y2 in pixels of the canvas.
    ``scores``: float32, from 0 to 1 where the network is as it should be.
    ``classes``: the number of its class among the model's.
    """

    images: npt.NDArray[np.intp]
    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.intp]


class Layout(Protocol):
    """One that a detector's outputs may have; ``LAYOUT`` in the module of that name."""

    # Whether the network chooses among boxes that overlap itself.
    is_final: bool
    # Whether the graph works out places on the canvas, and not relative to a cell. Of those, a
    # precision of three digits loses pixels.
    is_decoded: bool

    def names(self, shapes: Sequence[Sequence[int | None]], canvas: Size) -> list[str] | None:
        """What to call each output of a graph, in their order; None: it has another layout.

        The names are of those that ``shared.analyses.boxes.Boxes`` reads. ``shapes``: of the
        outputs for one image, without the batch; None for a side that depends on the image.
        """
        ...

    def fits(self, arrays: Arrays, canvas: Size) -> bool:
        """Whether the values, of a run over a few images, can be what the shapes look like."""
        ...

    def classes(self, arrays: Arrays) -> int | None:
        """How many classes the network tells apart; None where only its labels say it."""
        ...

    def candidates(self, arrays: Arrays, canvas: Size, min_score: float) -> Candidates:
        """The boxes with a score of ``min_score`` or more, once for each class that has it.

        Of an image with more than ``MAX_CANDIDATES``, the best. Numbers are as the network gave
        them: the head looks for those that are not finite, or no scores. A box whose score is not
        a number is among them.
        """
        ...

    def spoiled(self, arrays: Arrays) -> npt.NDArray[np.float64]:
        """For each image, the share of its boxes with numbers that are not finite, 0 to 1."""
        ...
