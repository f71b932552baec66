"""Candidates of a detector: those that can be objects, and images that cannot have an answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from shared.item import ItemFailure
from workers.inference.errors import model_failure
from workers.inference.heads.port import NetworkOutputs
from workers.inference.layouts import Candidates, Layout

# A network may overflow in a few places. Where most are not finite, it is broken.
_MAX_SPOILED = 0.5
# Rounding may add a little.
_MAX_SCORE = 1 + 1e-3


def finite_candidates(layout: Layout, outputs: NetworkOutputs, min_score: float) -> Candidates:
    """The candidates with that score whose numbers are all finite."""
    found = layout.candidates(outputs.arrays, outputs.canvas, min_score)
    are_finite = np.isfinite(found.boxes).all(axis=1) & np.isfinite(found.scores)
    return selected(found, are_finite)


def selected(
    candidates: Candidates, which: npt.NDArray[np.bool_] | npt.NDArray[np.intp]
) -> Candidates:
    """Some of them, by their numbers or a mask."""
    return Candidates(
        candidates.images[which],
        candidates.boxes[which],
        candidates.scores[which],
        candidates.classes[which],
    )


def failures_of(
    candidates: Candidates, spoiled: npt.NDArray[np.float64], labels: Sequence[str]
) -> dict[int, ItemFailure]:
    """Why images have no answer, by their numbers.

    ``spoiled``: for each image, the share of its boxes that are not finite.
    """
    found: dict[int, ItemFailure] = {}
    for image in np.flatnonzero(spoiled > _MAX_SPOILED).tolist():
        found[image] = model_failure(
            "The model gave an unusable output: numbers that are not finite, in "
            f"{spoiled[image]:.0%} of its boxes."
        )
    for image, number in _first_of_each(candidates, candidates.scores > _MAX_SCORE):
        found.setdefault(
            image,
            model_failure(
                "The model gave an unusable output: a box with the score "
                f"{candidates.scores[number]:.3g}. Scores of boxes are from 0 to 1: add the model "
                "again, exported with its sigmoid or softmax."
            ),
        )
    are_unknown = candidates.classes < 0
    if labels:
        are_unknown |= candidates.classes >= len(labels)
    for image, number in _first_of_each(candidates, are_unknown):
        failure = _unknown_class(int(candidates.classes[number]), len(labels))
        found.setdefault(image, failure)
    return found


def too_many_classes(classes: int | None, labels: Sequence[str]) -> ItemFailure | None:
    """Why no image has an answer, where there are more classes than names for them."""
    if classes is None or not labels or classes <= len(labels):
        return None
    return model_failure(
        f"The model gave scores of {classes:,} classes, and has {len(labels):,} labels: give its "
        "labels file a line for each."
    )


def _first_of_each(
    candidates: Candidates, are_wrong: npt.NDArray[np.bool_]
) -> Iterable[tuple[int, int]]:
    """The images that have such candidates, with the number of the first of them."""
    wrong = np.flatnonzero(are_wrong)
    images, first = np.unique(candidates.images[wrong], return_index=True)
    return zip(images.tolist(), wrong[first].tolist(), strict=True)


def _unknown_class(number: int, labels: int) -> ItemFailure:
    if number < 0:
        return model_failure("The model gave an unusable output: a box without a class.")
    return model_failure(
        f"The model gave a box of class {number:,}, and has {labels:,} labels: give its labels "
        "file a line for each class."
    )
