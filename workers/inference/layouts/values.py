"""What layouts have in common: which candidates there are, and what values can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from shared.placement import Size
from workers.inference.layouts.port import Candidates

Numbers = npt.NDArray[Any]

# Rounding, for instance in a softmax.
TOLERANCE = 1e-3
# Boxes of a network see beyond the canvas, by less than its own size.
_BEYOND = 1.0
_MOST = 0.99
# Of the best classes, and of it over the objectness. YOLOX-nano has medians of 0.08 to 0.18, and
# 400 times its objectness or more, on photos, made-up pictures and noise. Its products of both, as
# networks without an objectness give scores, have medians below 0.0001.
_MIN_MEDIAN = 0.01
_MIN_RATIO = 10.0


def with_objectness(
    rows: Numbers, min_score: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Numbers, npt.NDArray[np.intp]]:
    """Images, places, scores and best classes of ``rows`` (images, places, 5 + classes).

    Column 4 says whether there is an object, and what follows which one it is, if there is one. No
    score is above either, so most places are left out by the first.
    """
    objectness = rows[..., 4]
    images, places = np.nonzero(~(objectness < min_score))
    of_classes = rows[images, places, 5:]
    classes = of_classes.argmax(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        scores = objectness[images, places] * of_classes[np.arange(len(classes)), classes]
    likely = ~(scores < min_score)
    return images[likely], places[likely], scores[likely], classes[likely]


def by_class(
    scores: Numbers, min_score: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Numbers, npt.NDArray[np.intp]]:
    """Images, places, scores and best classes of ``scores`` (images, places, classes)."""
    # Image by image, which fits into a core's cache: a quarter of the time of scores.max(axis=2).
    likely = [(~(of_image < min_score)).any(axis=1) for of_image in scores]
    images, places = np.nonzero(np.stack(likely))
    of_classes = scores[images, places]
    classes = of_classes.argmax(axis=1)
    return images, places, of_classes[np.arange(len(classes)), classes], classes


def from_centres(
    images: npt.NDArray[np.intp],
    centres: Numbers,
    sizes: Numbers,
    scores: Numbers,
    classes: npt.NDArray[np.intp],
) -> Candidates:
    """Candidates from the centres (candidates, 2) and sizes of their boxes, in pixels."""
    with np.errstate(invalid="ignore", over="ignore"):
        boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
        return Candidates(images, boxes.astype(np.float32), scores.astype(np.float32), classes)


def are_probabilities(values: Numbers) -> bool:
    """Whether all are from 0 to 1."""
    return bool(((values >= -TOLERANCE) & (values <= 1 + TOLERANCE)).all())


def has_objectness(rows: Numbers) -> bool:
    """Whether column 4 of rows (images, places, columns) is one, before the scores of classes.

    It is near zero for most places, and what follows is not: without an object, scores of classes
    mean nothing. Scores of classes alone are near zero there, too.
    """
    if rows.shape[2] <= 5:
        return False
    objectness, best = np.median(rows[..., 4]), np.median(rows[..., 5:].max(axis=2))
    return bool(best > _MIN_MEDIAN and objectness * _MIN_RATIO < best)


def are_spread(points: Numbers, canvas: Size) -> bool:
    """Whether points (…, 2) lie all over a canvas, in its pixels: at least across half of it."""
    if not np.isfinite(points).all():
        return False
    extent = np.array(canvas)
    near = (points > -_BEYOND * extent) & (points < (1 + _BEYOND) * extent)
    low, high = (np.quantile(points.reshape(-1, 2), q, axis=0) for q in (0.01, 0.99))
    return bool(near.mean() > _MOST and (high - low > extent / 2).all())
