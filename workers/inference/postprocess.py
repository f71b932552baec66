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
from workers.inference.engines import Outputs
from workers.inference.engines.python_engine import plain

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
    """Softmax, then the best classes of each row of ``scores`` (images, classes)."""
    values = scores.astype(np.float64)
    finite = (np.abs(values) <= LARGEST_SCORE).min(axis=1)
    values[~finite] = 0
    if postprocess.softmax:
        values = np.exp(values - values.max(axis=1, keepdims=True))
        values /= values.sum(axis=1, keepdims=True)
    best = _best(values, postprocess.top_k)
    best_values = np.take_along_axis(values, best, axis=1)
    return [
        [
            Prediction(label=labels[c] if c < len(labels) else str(c), score=score)
            for c, score in zip(row.tolist(), row_values.tolist(), strict=True)
        ]
        if good
        else model_failure("The model gave a score that is not a finite number.")
        for good, row, row_values in zip(finite, best, best_values, strict=True)
    ]


def _best(values: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.intp]:
    """The ``count`` best classes of each row, the best first, and of equals the lower number."""
    count = min(count, values.shape[1])
    # To sort all classes would take longer than the rest of an image's way through here.
    least = np.partition(values, -count, axis=1)[:, -count, np.newaxis]
    good_enough = values >= least
    if (good_enough.sum(axis=1) != count).any():  # equals, of which not all are wanted
        return np.argsort(-values, axis=1, kind="stable")[:, :count]
    classes = np.nonzero(good_enough)[1].reshape(-1, count)
    order = np.argsort(-np.take_along_axis(values, classes, axis=1), axis=1, kind="stable")
    return np.take_along_axis(classes, order, axis=1)


def _from_output(output: Any, labels: Labels, postprocess: Postprocess) -> Answer:
    """One output of a user's class, in any of the forms that it may have."""
    output = plain(output)
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
        return model_failure(f"The model gave a {type(output).__name__}. {_FORMS}")
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
