"""Boxes that the network itself chose among those that overlap: torchvision's detectors.

Three arrays for an image: ``boxes`` (most, 4), x1, y1, x2, y2 in pixels of the canvas,
``box_scores`` (most) from 0 to 1, and ``box_labels`` (most), numbers of classes. Where an image has
fewer boxes than others, the rest have the score 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shared.placement import Size
from workers.inference.layouts.port import Arrays, Candidates
from workers.inference.layouts.values import are_probabilities

_CORNERS = 4
_NAMES = ["boxes", "box_scores", "box_labels"]
# Of a label that is not a finite number.
_NO_CLASS = -1


class FinalBoxes:
    """See the module."""

    is_final = True
    is_decoded = True

    def names(self, shapes: Sequence[Sequence[int | None]], canvas: Size) -> list[str] | None:  # noqa: ARG002 - any
        """See ``Layout``. Scores come before labels: their shapes are alike."""
        if len(shapes) != len(_NAMES):
            return None
        boxes, *others = map(list, shapes)
        is_final = boxes[1:] == [_CORNERS] and all(len(other) == 1 for other in others)
        return list(_NAMES) if is_final and len({boxes[0], *(o[0] for o in others)}) == 1 else None

    def fits(self, arrays: Arrays, canvas: Size) -> bool:  # noqa: ARG002 - it may have found little
        """See ``Layout``."""
        boxes, scores, labels = (arrays[name] for name in _NAMES)
        has_labels = bool(((labels >= 0) & (labels == np.rint(labels))).all())
        are_corners = bool((boxes[..., :2] <= boxes[..., 2:]).all())
        return are_probabilities(scores) and has_labels and are_corners

    def classes(self, arrays: Arrays) -> int | None:  # noqa: ARG002 - none says it
        """See ``Layout``."""
        return None

    def candidates(
        self,
        arrays: Arrays,
        canvas: Size,  # noqa: ARG002 - it is in pixels already
        min_score: float,
    ) -> Candidates:
        """See ``Layout``. A label that is not a finite number becomes class -1."""
        scores = arrays["box_scores"]
        # Zeros fill up.
        images, places = np.nonzero(~(scores < min_score) & (scores != 0))
        labels = arrays["box_labels"][images, places].astype(np.float64)
        classes = np.where(np.isfinite(labels), np.rint(labels), _NO_CLASS)
        return Candidates(
            images,
            arrays["boxes"][images, places].astype(np.float32),
            scores[images, places].astype(np.float32),
            np.clip(classes, _NO_CLASS, np.iinfo(np.int32).max).astype(np.intp),
        )

    def spoiled(self, arrays: Arrays) -> npt.NDArray[np.float64]:
        """See ``Layout``."""
        scores = arrays["box_scores"]
        are_boxes = scores != 0  # zeros fill up
        are_finite = np.isfinite(arrays["boxes"]).all(axis=2) & np.isfinite(scores)
        spoiled = (are_boxes & ~are_finite).sum(axis=1)
        return np.asarray(spoiled / np.maximum(are_boxes.sum(axis=1), 1))


LAYOUT = FinalBoxes()
