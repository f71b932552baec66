"""What a user's class gave for one image, in any of the forms that it may have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from shared.limits import MAX_LABEL_CHARACTERS
from shared.messages import Prediction
from workers.inference.class_host.values import Foreign, has_scores, is_huge, scalar, type_name

FORMS = (
    "Return for each image a label, (label, score), a list of such pairs, {label: score}, or a 1-D "
    "array of scores"
)
# Rows keep scores as float32. A comparison with it refuses NaN, too.
MAX_ABSOLUTE_SCORE = float(np.finfo(np.float32).max)
_MAX_SHOWN_CHARACTERS = 60


class Refused(ValueError):
    """An output has none of the forms. The message names what is wrong, with type and value."""


def scores_of(output: Any) -> npt.NDArray[Any] | None:
    """The numbers of an output that is an array or a list of floats, else None.

    Integers in a list could as well be labels. Raises Refused for an array without numbers.
    """
    output = scalar(output)
    if isinstance(output, list) and output:
        are_floats = all(type(scalar(entry)) is float for entry in output)
        return np.array([scalar(entry) for entry in output]) if are_floats else None
    if not isinstance(output, np.ndarray) or output.ndim != 1 or not has_scores(output):
        return None
    if not output.size:
        raise Refused("an empty array")
    return output


def predictions_of(output: Any) -> list[Prediction]:
    """The labels and scores of an output of any other form, in its order. Raises Refused."""
    output = scalar(output)
    if _is_label(output):
        return [_prediction(output, 1.0)]
    if _is_pair(output):
        return [_prediction(*output)]
    if isinstance(output, Mapping):
        output = list(output.items())
    if not isinstance(output, list | tuple):
        raise Refused(f"{shown(output)}. {FORMS}")
    return [_of_entry(entry, f"{n} of {len(output)}") for n, entry in enumerate(output, 1)]


def shown(value: Any) -> str:
    """A value with its type, in few printable characters."""
    if value is None:
        return "None"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else str(value)
    name = "".join(filter(str.isprintable, type_name(value)))
    if isinstance(value, list | tuple | Mapping):
        return f"a {name} of {len(value)}"
    text = _text(value)
    return f"{text} ({name})" if text else f"a {name}"


def _text(value: Any) -> str:
    if isinstance(value, Foreign):
        return "".join(filter(str.isprintable, value.text))
    if isinstance(value, str):
        return repr(value[:_MAX_SHOWN_CHARACTERS]) + "…" * (len(value) > _MAX_SHOWN_CHARACTERS)
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"[:_MAX_SHOWN_CHARACTERS]
    if is_huge(value):
        return f"an integer of {value.bit_length()} bits"
    return repr(value) if isinstance(value, int | float) else ""


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
        raise Refused(f"entry {where} is {shown(scalar(entry))}, not (label, score). {FORMS}")
    try:
        return _prediction(*entry)
    except Refused as refused:
        raise Refused(f"{refused}, in entry {where}") from None


def _prediction(label: Any, score: Any) -> Prediction:
    if type(label) is str and type(score) is float and abs(score) <= MAX_ABSOLUTE_SCORE:
        try:
            return Prediction(label=label, score=score)
        except ValidationError:  # what is wrong is said below
            pass
    label, score = scalar(label), scalar(score)
    problems = [_wrong_label(label), wrong_score(score)]
    if not any(problems):
        return Prediction(label=str(label), score=float(score))
    problem = ", ".join(filter(None, problems))
    if isinstance(label, int | float) and isinstance(score, str):
        problem = f"label is {shown(label)}, score is {shown(score)}: give (label, score)"
    raise Refused(problem)


def _wrong_label(label: Any) -> str:
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


def wrong_score(score: Any) -> str:
    """What is wrong with it; empty where it is a score."""
    if not isinstance(score, int | float):
        return f"score is {shown(score)}"
    if abs(score) <= MAX_ABSOLUTE_SCORE:
        return ""
    bound = f", beyond {MAX_ABSOLUTE_SCORE:.2g}" if abs(score) < math.inf else ""
    return f"score is {shown(score)}{bound}"
