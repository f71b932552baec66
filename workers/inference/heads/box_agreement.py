"""Whether two precisions of one detector find the same objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.inference.heads.nms import area, intersection
from workers.inference.layouts import Candidates

# Made-up pictures show few objects, and none of what many networks look for. So the best boxes of
# an image are compared, whatever their scores. In OpenVINO's bfloat16, SSD-MobileNetV3 has the 3
# best of float32 in all of them, and YOLOX-nano in 93 %; in photos these are 100 and 98 %.
_COMPARED = 3
# The order of boxes with like scores says nothing: one of the best may be further down the other's.
LOOKED_AT = 10
# The area of both boxes over that of either. With 0.75, the figures are 96 and 90 %, and 100 and
# 95 % in photos: where made-up pictures show nothing, networks are not sure of a box's sides.
_MIN_SHARE = 0.5
# How far two scores of one box may differ, as a share of the higher. With 0.25, bfloat16 answers
# 52 % for YOLOX-nano, most of whose best scores are below 0.1 here.
_MAX_DIFFERENCE = 0.5


def agree(exact: Sequence[Candidates], other: Sequence[Candidates]) -> npt.NDArray[np.bool_]:
    """For each image, whether either has the best boxes of the other.

    ``exact`` and ``other``: of each image the best ``LOOKED_AT``, the best first. Images in which
    nothing is found, or nothing finite, count as a disagreement: they show nothing.
    """
    pairs = zip(exact, other, strict=True)
    return np.array([_have_the_same(one, two) for one, two in pairs], np.bool_)


def _have_the_same(one: Candidates, other: Candidates) -> bool:
    if not len(one.scores) or not len(other.scores):
        return False
    are_alike = _are_alike(one, other)
    found = np.asarray(are_alike.any(axis=1))
    other_found = np.asarray(are_alike.any(axis=0))
    return bool(found[:_COMPARED].all() and other_found[:_COMPARED].all())


def _are_alike(one: Candidates, other: Candidates) -> npt.NDArray[np.bool_]:
    """Whether each box of one (rows) can be each of the other (columns)."""
    boxes = _column(one.boxes.astype(np.float64), 0)
    others = _column(other.boxes.astype(np.float64), 1)
    shared = area(intersection(boxes, others))
    together = area(boxes) + area(others) - shared
    scores, other_scores = _column(one.scores, 0), _column(other.scores, 1)
    differences = np.abs(scores - other_scores)
    are_alike = differences <= _MAX_DIFFERENCE * np.maximum(scores, other_scores)
    are_alike &= _column(one.classes, 0) == _column(other.classes, 1)
    return np.asarray(are_alike & (shared >= _MIN_SHARE * together))


def _column(values: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """With a second axis for pairs: values along the rows, or along the columns."""
    return np.expand_dims(values, 1 - axis)
