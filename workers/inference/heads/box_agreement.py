"""Whether two precisions of one detector find the same objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from workers.inference.heads.nms import area, intersection
from workers.inference.layouts import Candidates

# Made-up pictures show few objects: with a score of 0.3, YOLOX-nano finds one in 35 of 256, but in
# 126 of 128 photos. So what it is less sure of counts, too. In OpenVINO's bfloat16, it answers
# 96.5 % of them as in float32 then, and 94.5 % of the photos with boxes of 0.3 and 0.375. (There,
# of the objects that people marked, float32 finds 12.4 % with a share of 0.9, and bfloat16 11.5 %.)
MIN_SCORE = 0.1
# A box that is just good enough for one may be not quite so for the other.
_SURE_SCORE = 1.25 * MIN_SCORE
# The area of both boxes over that of either. With noise of 0.1 cells in YOLOX-nano's centres, 64 %
# of the photos have such boxes alone, and 96 % such of 0.5.
_MIN_SHARE = 0.75

_Found = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]


def agree(exact: Candidates, other: Candidates, images: int) -> npt.NDArray[np.bool_]:
    """For each image, whether either has every box that the other is sure of.

    Of both, the boxes that an answer would have, with a score of ``MIN_SCORE`` or more.
    """
    pairs = ((_of_image(exact, image), _of_image(other, image)) for image in range(images))
    return np.array([_have_the_same(*pair) for pair in pairs], np.bool_)


def _of_image(candidates: Candidates, image: int) -> _Found:
    """Boxes, scores and classes."""
    of = candidates.images == image
    return candidates.boxes[of].astype(np.float64), candidates.scores[of], candidates.classes[of]


def _have_the_same(one: _Found, other: _Found) -> bool:
    """Whether every box of either that is sure has one like it among the other's."""
    boxes, scores, classes = one
    others, other_scores, other_classes = other
    shared = area(intersection(boxes[:, np.newaxis], others))
    together = area(boxes)[:, np.newaxis] + area(others) - shared
    are_alike = (classes[:, np.newaxis] == other_classes) & (shared >= _MIN_SHARE * together)
    found, other_found = are_alike.any(axis=1), are_alike.any(axis=0)
    sure, other_sure = scores >= _SURE_SCORE, other_scores >= _SURE_SCORE
    return bool(found[sure].all() and other_found[other_sure].all())
