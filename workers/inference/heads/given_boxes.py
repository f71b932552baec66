"""Boxes that a user's class gave for one image, in any of the forms they may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.inference.class_host.values import has_scores, scalar
from workers.inference.class_outputs import UnusableOutput, shown, wrong_number
from workers.inference.heads.labelled import wrong_label, wrong_score

_SIDES = ("x1", "y1", "x2", "y2")
_COLUMNS = ("label", "score", *_SIDES)
_ARRAYS = ("boxes", "scores", "labels")
FORMS = (
    "Return for each image a list of (label, score, x1, y1, x2, y2), an array with these columns, "
    "or {'boxes': (n, 4), 'scores': (n), 'labels': (n)}"
)


@dataclass(frozen=True, slots=True)
class GivenBoxes:
    """The boxes of one image, in any order.

    ``boxes``: float64 (boxes, 4), x1, y1, x2, y2 in pixels of the canvas that the class got.
    """

    labels: list[str]
    scores: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float64]


def boxes_of(output: Any, names: Sequence[str]) -> GivenBoxes:
    """The boxes of an output. Raises UnusableOutput, which says what is wrong.

    ``names``: of the model's classes, which numbers stand for; none: a number is its own name.
    """
    entries = _entries(scalar(output))
    read = [_read(entry, f"{n} of {len(entries)}", names) for n, entry in enumerate(entries, 1)]
    return GivenBoxes(
        [label for label, _, _ in read],
        np.array([score for _, score, _ in read], np.float64),
        np.array([sides for _, _, sides in read], np.float64).reshape(-1, len(_SIDES)),
    )


def _entries(output: Any) -> Sequence[Any]:
    """The boxes, each in a form of its own."""
    if isinstance(output, np.ndarray) and has_scores(output):
        is_table = output.ndim == 2 and output.shape[1] == len(_COLUMNS)
        if is_table or output.shape in ((0,), (0, 0)):  # of nothing, numpy does not know it
            return list(map(tuple, output.tolist()))
    if isinstance(output, Mapping) and all(name in output for name in _ARRAYS):
        return _from_arrays(output)
    if isinstance(output, list | tuple):
        return output
    raise UnusableOutput(f"{shown(output)}. {FORMS}")


def _from_arrays(output: Mapping[Any, Any]) -> Sequence[Any]:
    """The boxes of arrays side by side, as torchvision's detectors give them."""
    columns = []
    for name in _ARRAYS:
        given = scalar(output[name])
        column = given.tolist() if isinstance(given, np.ndarray) and given.ndim else given
        if not isinstance(column, list | tuple):
            raise UnusableOutput(f"'{name}' is {shown(given)}. {FORMS}")
        columns.append(column)
    boxes, scores, labels = columns
    if not len(boxes) == len(scores) == len(labels):
        raise UnusableOutput(
            f"{len(boxes):,} boxes, {len(scores):,} scores and {len(labels):,} labels: give as "
            "many of each"
        )
    return [
        {"label": label, "score": score, "box": box}
        for box, score, label in zip(boxes, scores, labels, strict=True)
    ]


def _read(entry: Any, where: str, names: Sequence[str]) -> tuple[str, float, list[float]]:
    """The label, the score and the sides of one box."""
    label, score, *sides = map(scalar, _columns(entry, where))
    problems = [wrong_score(score)]
    for name, side in zip(_SIDES, sides, strict=True):
        if isinstance(side, bool) or wrong_number(side):
            problems.append(f"{name} is {wrong_number(side) or shown(side)}")
    try:
        named = _named(label, names)
    except UnusableOutput as refused:
        problems.insert(0, str(refused))
    if any(problems):
        raise UnusableOutput(f"{', '.join(filter(None, problems))}, in entry {where}")
    return named, float(score), list(map(float, sides))


def _columns(entry: Any, where: str) -> Sequence[Any]:
    """The label, the score and the four sides of one box, whatever they are."""
    entry = scalar(entry)
    if isinstance(entry, Mapping):
        box = scalar(entry["box"]) if "box" in entry else [entry.get(side) for side in _SIDES]
        box = box.tolist() if isinstance(box, np.ndarray) and box.ndim else box
        if not isinstance(box, list | tuple) or len(box) != len(_SIDES):
            raise UnusableOutput(f"box is {shown(box)}, not (x1, y1, x2, y2), in entry {where}")
        return [entry.get("label"), entry.get("score"), *box]
    columns = entry.tolist() if isinstance(entry, np.ndarray) and entry.ndim else entry
    if not isinstance(columns, list | tuple) or len(columns) != len(_COLUMNS):
        raise UnusableOutput(
            f"entry {where} is {shown(entry)}, not ({', '.join(_COLUMNS)}). {FORMS}"
        )
    return columns


def _named(label: Any, names: Sequence[str]) -> str:
    """The label as a row has it. Raises UnusableOutput for what is none.

    A whole number, which arrays may have as a float, is the number of a class.
    """
    number = int(label) if isinstance(label, float) and label.is_integer() else label
    if problem := wrong_label(number):
        hint = f": the order is {', '.join(_COLUMNS)}" if isinstance(label, float) else ""
        raise UnusableOutput(f"{problem}{hint}")
    if not names or isinstance(number, str):
        return str(number)
    if not 0 <= number < len(names):
        raise UnusableOutput(f"label is {number}, and there are {len(names):,} labels")
    return names[number]
