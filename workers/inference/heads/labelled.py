"""Labels and scores that a user's class gave for one image, in any of the forms they may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.limits import MAX_LABEL_CHARACTERS
from workers.inference.class_host.values import has_scores, is_huge, scalar
from workers.inference.class_outputs import UnusableOutput, shown, wrong_number

FORMS = (
    "Return for each image a label, (label, score), a list of such pairs, {label: score}, or a 1-D "
    "array of scores"
)
# A label with its score.
Prediction = tuple[str, float]


def scores_of(output: Any) -> npt.NDArray[Any] | None:
    """The numbers of an output that is an array or a list of floats, else None.

    Integers in a list could as well be labels. Raises UnusableOutput for an array without numbers.
    """
    output = scalar(output)
    if isinstance(output, list) and output:
        are_floats = all(type(scalar(entry)) is float for entry in output)
        return np.array([scalar(entry) for entry in output]) if are_floats else None
    if not isinstance(output, np.ndarray) or output.ndim != 1 or not has_scores(output):
        return None
    if not output.size:
        raise UnusableOutput("an empty array")
    return output


def predictions_of(output: Any) -> list[Prediction]:
    """The labels and scores of an output of any other form, in its order. Raises UnusableOutput."""
    output = scalar(output)
    if _is_label(output):
        return [_prediction(output, 1.0)]
    if _is_pair(output):
        return [_prediction(*output)]
    if isinstance(output, Mapping):
        output = list(output.items())
    if not isinstance(output, list | tuple):
        raise UnusableOutput(f"{shown(output)}. {FORMS}")
    return [_of_entry(entry, f"{n} of {len(output)}") for n, entry in enumerate(output, 1)]


def wrong_score(score: Any) -> str:
    """What is wrong with it; empty where it is a score."""
    wrong = wrong_number(score)
    return f"score is {wrong}" if wrong else ""


def wrong_label(label: Any) -> str:
    """What is wrong with it; empty where it is a label."""
    if not _is_label(label) or is_huge(label):
        return f"label is {shown(label)}"
    if isinstance(label, int):
        return ""
    if len(label) > MAX_LABEL_CHARACTERS:
        return f"label has {len(label):,} characters, at most {MAX_LABEL_CHARACTERS:,}"
    try:
        label.encode()
    except UnicodeEncodeError:
        return f"label is {shown(label)}, half a character of Unicode"
    return ""


def _is_label(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def _is_pair(output: Any) -> bool:
    """Is it one label with its score, perhaps in the wrong order, and not a list of two pairs?"""
    if not isinstance(output, list | tuple) or len(output) != 2:
        return False
    first, second = map(scalar, output)
    if isinstance(output, list):  # what two numbers in a list are, nobody knows
        return isinstance(first, str) and isinstance(second, int | float)
    return not isinstance(first, list | tuple)


def _of_entry(entry: Any, where: str) -> Prediction:
    if not isinstance(entry, list | tuple) or len(entry) != 2:
        raise UnusableOutput(
            f"entry {where} is {shown(scalar(entry))}, not (label, score). {FORMS}"
        )
    try:
        return _prediction(*entry)
    except UnusableOutput as refused:
        raise UnusableOutput(f"{refused}, in entry {where}") from None


def _prediction(label: Any, score: Any) -> Prediction:
    label, score = scalar(label), scalar(score)
    problems = [wrong_label(label), wrong_score(score)]
    if not any(problems):
        return str(label), float(score)
    problem = ", ".join(filter(None, problems))
    if isinstance(label, int | float) and isinstance(score, str):
        problem = f"label is {shown(label)}, score is {shown(score)}: give (label, score)"
    raise UnusableOutput(problem)
