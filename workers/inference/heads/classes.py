"""Scores of classes, or the labels of a user's class, as the likeliest classes of each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shared.analyses.classes import Classes
from shared.item import ItemFailure
from shared.placement import Size
from workers.inference.class_outputs import MAX_ABSOLUTE_NUMBER, UnusableOutput
from workers.inference.errors import model_failure
from workers.inference.heads.labelled import Prediction, predictions_of, scores_of, wrong_score
from workers.inference.heads.port import ClassOutputs, HeadAnswers, NetworkOutputs

# Of a model without labels. More numbers for an image are hardly scores of classes.
MAX_SCORES = 1000


class ClassesHead:
    """Reads a network's ``scores``, and everything that a user's class may give as labels."""

    def answers(
        self,
        analysis: Classes,
        outputs: NetworkOutputs | ClassOutputs,
        labels: Sequence[str],
        sizes: Sequence[Size],  # noqa: ARG002 - a label has no place
    ) -> HeadAnswers:
        """See ``Head``."""
        if isinstance(outputs, NetworkOutputs):
            return _from_scores(outputs.array("scores"), labels, analysis, of_class=False)
        if isinstance(outputs, np.ndarray):
            return _from_scores(outputs, labels, analysis, of_class=True)
        return _from_outputs(outputs, labels, analysis)

    def agreement(
        self, exact: NetworkOutputs, other: NetworkOutputs
    ) -> npt.NDArray[np.bool_] | None:
        """Whether the best class is the same."""
        if "scores" not in exact.arrays:
            return None
        same = exact.array("scores").argmax(axis=1) == other.array("scores").argmax(axis=1)
        return np.asarray(same, np.bool_)


HEAD = ClassesHead()


def _from_scores(
    scores: npt.NDArray[Any], labels: Sequence[str], asked: Classes, *, of_class: bool
) -> HeadAnswers:
    """The best classes of each row of ``scores`` (images, classes), after softmax if wanted."""
    images, classes = scores.shape
    if failure := _too_many(classes, labels, of_class=of_class):
        return HeadAnswers(
            pa.nulls(images, asked.answer_type()), dict.fromkeys(range(images), failure)
        )
    finite, best, values = _best_classes(scores, asked)
    names = pa.array(labels or [str(number) for number in range(classes)], pa.string())
    answers = _column(
        asked,
        best[:, 0],
        names.take(pa.array(best[finite].ravel())),
        values[finite].ravel(),
        np.where(finite, best.shape[1], 0),
        ~finite,
    )
    failed = np.flatnonzero(~finite).tolist()
    return HeadAnswers(answers, {image: _not_finite(scores[image], labels) for image in failed})


def _from_outputs(outputs: list[Any], labels: Sequence[str], asked: Classes) -> HeadAnswers:
    """One output an image, of a user's class."""
    numbers: list[int | None] = []
    rows: list[list[Prediction]] = []
    failures = {}
    for image, output in enumerate(outputs):
        number, row = _from_output(output, labels, asked)
        if isinstance(row, ItemFailure):
            failures[image], row = row, []
        numbers.append(number)
        rows.append(row)
    answers = _column(
        asked,
        numbers,
        pa.array([label for row in rows for label, _ in row], pa.string()),
        np.array([score for row in rows for _, score in row]),
        np.array([len(row) for row in rows], np.intp),
        np.array([image in failures for image in range(len(rows))], np.bool_),
    )
    return HeadAnswers(answers, failures)


def _from_output(
    output: Any, labels: Sequence[str], asked: Classes
) -> tuple[int | None, list[Prediction] | ItemFailure]:
    """The number of the best class, where there are scores of classes, and the predictions."""
    try:
        scores = scores_of(output)
        found = predictions_of(output) if scores is None else []
    except UnusableOutput as refused:
        return None, refused.as_failure()
    if scores is None:
        return None, sorted(found, key=lambda prediction: -prediction[1])[: asked.top_k]
    if failure := _too_many(len(scores), labels, of_class=True):
        return None, failure
    (finite,), (best,), (values,) = _best_classes(scores[np.newaxis], asked)
    if not finite:
        return None, _not_finite(scores, labels)
    names = [labels[number] if labels else str(number) for number in best.tolist()]
    return int(best[0]), list(zip(names, values.tolist(), strict=True))


def _column(
    asked: Classes,
    numbers: Any,
    names: pa.Array,
    scores: npt.NDArray[Any],
    counts: npt.NDArray[np.intp],
    is_failed: npt.NDArray[np.bool_],
) -> pa.Array:
    """Answers of which each has ``counts`` of the ``names`` and ``scores``."""
    kind = asked.answer_type()
    index, predictions = kind.field("class_index"), kind.field("predictions")
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    flat = pa.StructArray.from_arrays(
        [names, pa.array(scores.astype(np.float32))], fields=list(predictions.type.value_type)
    )
    mask = pa.array(is_failed)
    return pa.StructArray.from_arrays(
        [
            pa.array(numbers, index.type),
            pa.ListArray.from_arrays(offsets, flat, type=predictions.type),
        ],
        fields=[index, predictions],
        mask=mask,
    )


def _best_classes(
    scores: npt.NDArray[Any], asked: Classes
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp], npt.NDArray[Any]]:
    """Which rows have usable scores alone, their best classes, and these classes' scores."""
    values = scores if scores.dtype == np.float32 else scores.astype(np.float64)
    finite = (np.abs(values) <= MAX_ABSOLUTE_NUMBER).min(axis=1)
    values = np.where(finite[:, np.newaxis], values, 0)
    best = _best(values, asked.top_k)
    best_values = np.take_along_axis(values, best, axis=1)
    return finite, best, _shares(best_values, values) if asked.softmax else best_values


def _best(values: npt.NDArray[Any], count: int) -> npt.NDArray[np.intp]:
    """The ``count`` best classes of each row, the best first, and of equals the lower number."""
    rows, left, best = np.arange(len(values)), values.copy(), []
    # A few looks at all classes take a tenth of what partitioning them would.
    for _ in range(min(count, values.shape[1])):
        best.append(left.argmax(axis=1))
        left[rows, best[-1]] = -np.inf
    return np.stack(best, axis=1)


def _shares(best_values: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Softmax of ``values``, of which only the best are wanted; the best of all come first."""
    largest = best_values[:, :1]
    with np.errstate(over="ignore", under="ignore"):  # of scores that far away, nothing is left
        sums = np.exp(values - largest).sum(axis=1, keepdims=True)
        return np.asarray(np.exp(best_values - largest) / sums)


def _not_finite(scores: npt.NDArray[Any], labels: Sequence[str]) -> ItemFailure:
    number = int(np.argmin(np.abs(scores.astype(np.float64)) <= MAX_ABSOLUTE_NUMBER))
    problem = wrong_score(float(scores[number]))
    of = f"class {number}" + (f" ('{labels[number]}')" if labels else "")
    return model_failure(f"The model gave an unusable output: {problem}, of {of}.")


def _too_many(count: int, labels: Sequence[str], *, of_class: bool) -> ItemFailure | None:
    """Why an image has no answer, where its scores are more than there are names for."""
    if count <= (len(labels) or MAX_SCORES):
        return None
    if labels:
        limit = f"has {len(labels):,} labels: give its labels file a line for each"
    else:
        remedy = "return (label, score) pairs" if of_class else "add a labels file to the model"
        limit = f"labels for at most {MAX_SCORES:,}: {remedy}"
    return model_failure(
        f"The model gave {count:,} numbers for an image, and {limit}, or ask for an analysis of "
        "kind 'vector'."
    )
