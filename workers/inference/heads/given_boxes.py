"""Boxes that a user's class gave for one image, in any of the forms they may have, as objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shared.analyses.boxes import Boxes
from shared.item import ItemFailure
from shared.placement import Size
from workers.inference.class_host.values import has_scores, scalar
from workers.inference.class_outputs import UnusableOutput, shown, wrong_number
from workers.inference.heads.labelled import wrong_label, wrong_score
from workers.inference.heads.objects import Objects, have_area, in_original

_SIDES = ("x1", "y1", "x2", "y2")
_COLUMNS = ("label", "score", *_SIDES)
# They are read one by one: 0.5 s for so many, of which a row keeps 1,000 at most.
MAX_ENTRIES = 100_000
_ARRAYS = ("boxes", "scores", "labels")
FORMS = (
    "Return for each image a list of (label, score, x1, y1, x2, y2), an array with these columns, "
    "or {'boxes': (n, 4), 'scores': (n), 'labels': (n)}"
)


def objects_of(
    asked: Boxes, output: Any, names: Sequence[str], size: Size
) -> Objects | ItemFailure:
    """The objects in an output, or why it is unusable. Those that overlap are all kept.

    ``names``: of the model's classes, which numbers stand for; none: a number is its own name.
    """
    try:
        entries = _entries(scalar(output))
        read = [_read(entry, f"{n} of {len(entries)}", names) for n, entry in enumerate(entries, 1)]
    except UnusableOutput as refused:
        return refused.as_failure()
    labels = [label for label, _, _ in read]
    scores = np.array([score for _, score, _ in read], np.float64)
    sides = np.array([sides for _, _, sides in read], np.float64).reshape(-1, len(_SIDES))
    boxes = in_original(sides, asked, size)
    are_kept = have_area(boxes) & (scores >= asked.min_score)
    order = np.argsort(-scores, kind="stable")
    best = order[are_kept[order]][: asked.max_boxes]
    return Objects([labels[n] for n in best], scores[best], boxes[best])


def _entries(output: Any) -> Sequence[Any]:
    """The boxes, each in a form of its own."""
    if isinstance(output, np.ndarray) and has_scores(output):
        is_table = output.ndim == 2 and output.shape[1] == len(_COLUMNS)
        if is_table or output.shape in ((0,), (0, 0)):  # of nothing, numpy does not know it
            return _require_few(output)
    if isinstance(output, Mapping) and all(name in output for name in _ARRAYS):
        return _from_arrays(output)
    if isinstance(output, list | tuple):
        return _require_few(output)
    raise UnusableOutput(f"{shown(output)}. {FORMS}")


def _require_few(entries: Any) -> Sequence[Any]:
    """The entries. Raises UnusableOutput where there are too many to read."""
    if len(entries) > MAX_ENTRIES:
        raise UnusableOutput(
            f"{len(entries):,} boxes, at most {MAX_ENTRIES:,}: leave out those with low scores"
        )
    return entries  # type: ignore[no-any-return]


def _from_arrays(output: Mapping[Any, Any]) -> Sequence[Any]:
    """The boxes of arrays side by side, as torchvision's detectors give them."""
    columns = []
    for name in _ARRAYS:
        column = scalar(output[name])
        is_array = isinstance(column, np.ndarray) and column.ndim
        if not is_array and not isinstance(column, list | tuple):
            raise UnusableOutput(f"'{name}' is {shown(column)}. {FORMS}")
        columns.append(column)
    boxes, scores, labels = columns
    if not len(boxes) == len(scores) == len(labels):
        raise UnusableOutput(
            f"{len(boxes):,} boxes, {len(scores):,} scores and {len(labels):,} labels: give as "
            "many of each"
        )
    _require_few(boxes)
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
    """The label as a row has it. Raises UnusableOutput where it is not a label.

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
