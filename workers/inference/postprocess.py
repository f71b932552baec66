"""What an engine gave, as predictions or as the failure of single images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.errors import ItemErrorCode
from shared.item import ItemFailure
from shared.messages import Prediction
from shared.pipeline import Postprocess
from workers.inference.class_outputs import (
    MAX_ABSOLUTE_SCORE,
    Refused,
    predictions_of,
    scores_of,
    wrong_score,
)
from workers.inference.engines import Outputs

Answer = list[Prediction] | ItemFailure
Labels = Sequence[str]
# Of a model without labels. More numbers for an image are hardly scores of classes.
MAX_SCORES = 1000


def model_failure(message: str) -> ItemFailure:
    """The failure of an image on which the model raised, or that it answered with nonsense."""
    return ItemFailure.of(ItemErrorCode.MODEL_ERROR, message)


def answers(outputs: Outputs, labels: Labels, postprocess: Postprocess) -> list[Answer]:
    """One answer for each of the engine's outputs."""
    if isinstance(outputs, np.ndarray):
        return _from_scores(outputs, labels, postprocess)
    return [_from_output(output, labels, postprocess) for output in outputs]


def _from_scores(
    scores: npt.NDArray[Any], labels: Labels, postprocess: Postprocess
) -> list[Answer]:
    """The best classes of each row of ``scores`` (images, classes), after softmax if wanted."""
    most = len(labels) or MAX_SCORES
    if scores.shape[1] > most:
        return [_too_many(scores.shape[1], labels)] * len(scores)
    values = scores if scores.dtype == np.float32 else scores.astype(np.float64)
    finite = (np.abs(values) <= MAX_ABSOLUTE_SCORE).min(axis=1)
    values = np.where(finite[:, np.newaxis], values, 0)
    best = _best(values, postprocess.top_k)
    best_values = np.take_along_axis(values, best, axis=1)
    if postprocess.softmax:
        best_values = _shares(best_values, values)
    return [
        [
            Prediction(label=labels[c] if labels else str(c), score=score)
            for c, score in zip(row.tolist(), row_values.tolist(), strict=True)
        ]
        if good
        else _not_finite(scores[image], labels)
        for image, (good, row, row_values) in enumerate(zip(finite, best, best_values, strict=True))
    ]


def _not_finite(scores: npt.NDArray[Any], labels: Labels) -> ItemFailure:
    number = int(np.argmin(np.abs(scores.astype(np.float64)) <= MAX_ABSOLUTE_SCORE))
    problem = wrong_score(float(scores[number]))
    of = f"class {number}" + (f" ('{labels[number]}')" if labels else "")
    return model_failure(f"The model gave an unusable output: {problem}, of {of}.")


def _too_many(count: int, labels: Labels) -> ItemFailure:
    limit = f"has {len(labels):,} labels" if labels else f"labels for at most {MAX_SCORES:,}"
    return model_failure(
        f"The model gave {count:,} numbers for an image, and {limit}: return (label, score) pairs. "
        "Embeddings cannot be stored yet."
    )


def _shares(best_values: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Softmax of ``values``, of which only the best are wanted; the best of all come first."""
    largest = best_values[:, :1]
    with np.errstate(over="ignore", under="ignore"):  # of scores that far away, nothing is left
        sums = np.exp(values - largest).sum(axis=1, keepdims=True)
        return np.asarray(np.exp(best_values - largest) / sums)


def _best(values: npt.NDArray[Any], count: int) -> npt.NDArray[np.intp]:
    """The ``count`` best classes of each row, the best first, and of equals the lower number."""
    rows, left, best = np.arange(len(values)), values.copy(), []
    # A few looks at all classes take a tenth of what partitioning them would.
    for _ in range(min(count, values.shape[1])):
        best.append(left.argmax(axis=1))
        left[rows, best[-1]] = -np.inf
    return np.stack(best, axis=1)


def _from_output(output: Any, labels: Labels, postprocess: Postprocess) -> Answer:
    """One output of a user's class."""
    try:
        scores = scores_of(output)
        if scores is not None:
            return _from_scores(scores[np.newaxis], labels, postprocess)[0]
        found = predictions_of(output)
    except Refused as refused:
        return model_failure(f"The model gave an unusable output: {refused}.")
    return sorted(found, key=lambda p: -p.score)[: postprocess.top_k]
