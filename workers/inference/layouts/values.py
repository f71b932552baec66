"""Shared by layouts: choosing candidates by score, and checks of a run's values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.placement import Size
from workers.inference.layouts.port import Candidates

Numbers = npt.NDArray[Any]

# Of one image, the best that are looked at. Where none of them overlap, the head takes 33 ms to
# keep 300, and 0.1 s for 1,000.
MAX_CANDIDATES = 3000
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


# The image, the place, the score and the class of each pair.
_Pairs = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Numbers, npt.NDArray[np.intp]]


def with_objectness(rows: Numbers, min_score: float) -> _Pairs:
    """The pairs of a place and a class in ``rows`` (images, places, 5 + classes).

    Column 4 says whether there is an object, and the rest which one it is, if there is one. No
    score is above either, so most places are left out by the first.
    """
    found = []
    for of_image in rows:
        places = np.flatnonzero(~(of_image[:, 4] < min_score))
        likely = of_image[places]
        with np.errstate(invalid="ignore", over="ignore"):
            scores = likely[:, 4:5] * likely[:, 5:]
        numbers, values, classes = _best_pairs(scores, min_score)
        found.append((places[numbers], values, classes))
    return _joined(found)


def by_class(scores: Numbers, min_score: float) -> _Pairs:
    """The pairs of a place and a class in ``scores`` (images, places, classes)."""
    # Image by image, which fits into a core's cache: a quarter of the time of scores.max(axis=2).
    return _joined([_best_pairs(of_image, min_score) for of_image in scores])


def _best_pairs(
    scores: Numbers, min_score: float
) -> tuple[npt.NDArray[np.intp], Numbers, npt.NDArray[np.intp]]:
    """The pairs of one image with that score, at most ``MAX_CANDIDATES``: places, scores, classes.

    ``scores``: (places, classes). Those that are no numbers are dropped first.
    """
    places = np.flatnonzero((~(scores < min_score)).any(axis=1))
    if len(places) > MAX_CANDIDATES:  # the best pairs are at the places with the best scores
        places = places[_highest(scores[places].max(axis=1))]
    likely = scores[places]
    numbers, classes = np.nonzero(~(likely < min_score))
    values = likely[numbers, classes]
    if len(values) > MAX_CANDIDATES:
        best = _highest(values)
        numbers, classes, values = numbers[best], classes[best], values[best]
    return places[numbers], values, classes


def _highest(values: Numbers) -> npt.NDArray[np.intp]:
    """The numbers of the highest ``MAX_CANDIDATES`` of more values, in their order."""
    return np.sort(np.argpartition(-values, MAX_CANDIDATES)[:MAX_CANDIDATES])


def _joined(found: Sequence[tuple[npt.NDArray[np.intp], Numbers, npt.NDArray[np.intp]]]) -> _Pairs:
    """The pairs of each image, one after the other."""
    places, scores, classes = (np.concatenate(column) for column in zip(*found, strict=True))
    images = np.repeat(np.arange(len(found)), [len(each) for each, *_ in found])
    return images, places, scores, classes


def spoiled_share(*numbers: Numbers) -> npt.NDArray[np.float64]:
    """For each image, the share of places with numbers that are not finite.

    ``numbers``: arrays (images, places, columns).
    """
    with np.errstate(invalid="ignore", over="ignore"):
        # Sums are finite where all terms are. This takes a third of the time of np.isfinite, and no
        # threads, as a product with ones does.
        sums = [np.einsum("ipc->ip", each) for each in numbers]
    return np.asarray(np.mean(~np.isfinite(sums).all(axis=0), axis=1))


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
