"""What an engine gave, as predictions or as the failure of single images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from shared.errors import ItemErrorCode
from shared.messages import ItemFailure, Prediction
from shared.pipeline import Postprocess
from workers.inference.class_host.values import type_name
from workers.inference.engines import Outputs

Answer = list[Prediction] | ItemFailure
Labels = Sequence[str]
# Rows keep scores as float32. A comparison with it refuses NaN, too.
LARGEST_SCORE = float(np.finfo(np.float32).max)


def model_failure(message: str) -> ItemFailure:
    """The failure of an image on which the model raised, or that it answered with nonsense."""
    return ItemFailure(error_code=ItemErrorCode.MODEL_ERROR, error_message=message[:500])


def answers(outputs: Outputs, labels: Labels, postprocess: Postprocess) -> list[Answer]:
    """One answer for each of the engine's outputs."""
    if isinstance(outputs, np.ndarray):
        return _from_scores(outputs, labels, postprocess)
    return [_from_output(output, labels, postprocess) for output in outputs]


def _from_scores(
    scores: npt.NDArray[Any], labels: Labels, postprocess: Postprocess
) -> list[Answer]:
    """The best classes of each row of ``scores`` (images, classes), after softmax if wanted."""
    values = scores if scores.dtype == np.float32 else scores.astype(np.float64)
    finite = (np.abs(values) <= LARGEST_SCORE).min(axis=1)
    values = np.where(finite[:, np.newaxis], values, 0)
    best = _best(values, postprocess.top_k)
    best_values = np.take_along_axis(values, best, axis=1)
    if postprocess.softmax:
        best_values = _shares(best_values, values)
    return [
        [
            Prediction(label=labels[c] if c < len(labels) else str(c), score=score)
            for c, score in zip(row.tolist(), row_values.tolist(), strict=True)
        ]
        if good
        else model_failure("The model gave a score that is not a finite number.")
        for good, row, row_values in zip(finite, best, best_values, strict=True)
    ]


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
    """One output of a user's class, in any of the forms that it may have."""
    if isinstance(output, np.ndarray) and output.ndim == 1 and output.dtype.kind in "fiub":
        if not output.size:
            return model_failure("The model gave an empty array of scores.")
        return _from_scores(output[np.newaxis], labels, postprocess)[0]
    if isinstance(output, str):
        output = [(output, 1.0)]
    elif _is_pair(output):
        output = [output]
    elif isinstance(output, Mapping):
        output = list(output.items())
    if not isinstance(output, list | tuple):
        return model_failure(f"The model gave a {type_name(output)}. {_FORMS}")
    try:
        found = [_prediction(entry) for entry in output]
    except ValidationError:
        return model_failure(f"The model gave a label over 200 characters, or no number. {_FORMS}")
    except (TypeError, ValueError, OverflowError):
        return model_failure(f"The model gave something else than labels and scores. {_FORMS}")
    return sorted(found, key=lambda p: -p.score)[: postprocess.top_k]


_FORMS = "Give a label, (label, score), a list of those, {label: score}, or a 1-D array of scores."


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], Real)
    )


def _prediction(entry: Any) -> Prediction:
    label, score = entry
    if not isinstance(label, str) or not isinstance(score, Real):
        raise TypeError
    if not abs(float(score)) <= LARGEST_SCORE:
        raise ValueError
    return Prediction(label=str(label), score=float(score))
