"""A detector's candidates, or the boxes of a user's class, as the best objects of each image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shared.analyses.boxes import Boxes
from shared.item import ItemFailure
from shared.pipeline import view_of
from shared.placement import Size
from workers.inference.class_outputs import UnusableOutput
from workers.inference.errors import ModelUnusable, model_failure
from workers.inference.heads.box_agreement import MIN_SCORE, agree
from workers.inference.heads.given_boxes import boxes_of
from workers.inference.heads.nms import suppress
from workers.inference.heads.port import ClassOutputs, HeadAnswers, NetworkOutputs
from workers.inference.layouts import LAYOUTS, Candidates, Layout, layout_of

# Of one image, the best that are looked at. Where none of them overlap, that takes 33 ms for 300
# boxes, and 0.1 s for 1,000. Of YOLOX-nano at 416 pixels, 16 photos had 93 at most with a score of
# 0.3 or more, and 809 with 0.001.
MAX_CANDIDATES = 3000
# Rounding may add a little.
_MAX_SCORE = 1 + 1e-3

Numbers = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Objects:
    """Those of one image, the best first. ``boxes``: float32 (objects, 4), of the original."""

    labels: Sequence[str]
    scores: Numbers
    boxes: Numbers


class BoxesHead:
    """Reads candidates as the network's layout has them, and boxes of a user's class.

    A candidate that is not finite is dropped. Where an image has more of those than of others, the
    network is broken, and the image fails; so it does where a score is above 1, and no probability.
    """

    def answers(
        self,
        analysis: Boxes,
        outputs: NetworkOutputs | ClassOutputs,
        labels: Sequence[str],
        sizes: Sequence[Size],
    ) -> HeadAnswers:
        """See ``Head``."""
        if isinstance(outputs, NetworkOutputs):
            found = _from_network(analysis, outputs, labels, sizes)
        else:
            found = [
                _from_class(analysis, output, labels, size)
                for output, size in zip(outputs, sizes, strict=True)
            ]
        failures = {n: each for n, each in enumerate(found) if isinstance(each, ItemFailure)}
        return HeadAnswers(_column(analysis, found), failures)

    def agreement(
        self, exact: NetworkOutputs, other: NetworkOutputs
    ) -> npt.NDArray[np.bool_] | None:
        """Whether each finds the objects that the other is sure of."""
        if "boxes" not in exact.arrays:
            return None
        found, others = (_objects_on_canvas(outputs) for outputs in (exact, other))
        return agree(found, others, len(exact.array("boxes")))


HEAD = BoxesHead()


def _from_network(
    asked: Boxes, outputs: NetworkOutputs, labels: Sequence[str], sizes: Sequence[Size]
) -> list[_Objects | ItemFailure]:
    """The objects of each image, or why it has no answer."""
    layout = _layout(outputs)
    if failure := _too_many(layout.classes(outputs.arrays), labels):
        return [failure] * len(sizes)
    candidates = layout.candidates(outputs.arrays, outputs.canvas, asked.min_score)
    failures = _failures(candidates, labels, len(sizes))
    candidates = _selected(candidates, _are_finite(candidates))
    found: list[_Objects | ItemFailure] = []
    for image, of in enumerate(_best_first(candidates, len(sizes))):
        if image in failures:
            found.append(failures[image])
            continue
        boxes = _in_original(candidates.boxes[of], asked, sizes[image])
        are_seen = _have_area(boxes)
        of, boxes = of[are_seen], boxes[are_seen]
        kept = _kept(layout, candidates, of, asked.overlap, asked.max_boxes)
        classes = candidates.classes[of[kept]].tolist()
        named = [labels[number] if labels else str(number) for number in classes]
        found.append(_Objects(named, np.minimum(candidates.scores[of[kept]], 1), boxes[kept]))
    return found


def _kept(
    layout: Layout, candidates: Candidates, of: npt.NDArray[np.intp], overlap: float, most: int
) -> npt.NDArray[np.intp]:
    """Which of one image's candidates ``of``, the best first, are objects."""
    if layout.is_final:
        return np.arange(len(of))[:most]
    return suppress(candidates.boxes[of], candidates.classes[of], overlap, most)


def _objects_on_canvas(outputs: NetworkOutputs) -> Candidates:
    """Those that an analysis would find with its usual options."""
    layout, usual = _layout(outputs), Boxes.model_fields
    candidates = layout.candidates(outputs.arrays, outputs.canvas, MIN_SCORE)
    candidates = _selected(candidates, _are_finite(candidates))
    overlap, most = usual["overlap"].default, usual["max_boxes"].default
    numbers = [
        of[_kept(layout, candidates, of, overlap, most)]
        for of in _best_first(candidates, len(outputs.array("boxes")))
    ]
    return _selected(candidates, np.concatenate(numbers))


def _layout(outputs: NetworkOutputs) -> Layout:
    """That of the outputs. Raises ModelUnusable where there is none."""
    outputs.array("boxes")
    if outputs.layout not in LAYOUTS:
        raise ModelUnusable(
            f"The model's layout is {outputs.layout}, and none of {', '.join(LAYOUTS)}.",
            "Add the model again, with one of these as its --layout.",
        )
    return layout_of(outputs.layout)


def _best_first(candidates: Candidates, images: int) -> list[npt.NDArray[np.intp]]:
    """The numbers of each image's best candidates, the best first, and of equals the first."""
    order = np.lexsort((-candidates.scores, candidates.images))
    ends = np.searchsorted(candidates.images[order], np.arange(images + 1))
    return [order[start : min(end, start + MAX_CANDIDATES)] for start, end in pairwise(ends)]


def _are_finite(candidates: Candidates) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isfinite(candidates.boxes).all(axis=1) & np.isfinite(candidates.scores))


def _selected(candidates: Candidates, which: Numbers) -> Candidates:
    """Some of them, by their numbers or a mask."""
    return Candidates(
        candidates.images[which],
        candidates.boxes[which],
        candidates.scores[which],
        candidates.classes[which],
    )


def _failures(candidates: Candidates, labels: Sequence[str], images: int) -> dict[int, ItemFailure]:
    """Why images have no answer, by their numbers."""
    found: dict[int, ItemFailure] = {}
    are_finite = _are_finite(candidates)
    all_, finite = (
        np.bincount(of, minlength=images)
        for of in (candidates.images, candidates.images[are_finite])
    )
    for image in np.flatnonzero(all_ - finite > finite).tolist():
        found[image] = model_failure(
            "The model gave an unusable output: numbers that are not finite, in "
            f"{all_[image] - finite[image]:,} of {all_[image]:,} boxes."
        )
    for image, number in _first_of_each(candidates, are_finite & (candidates.scores > _MAX_SCORE)):
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


def _too_many(classes: int | None, labels: Sequence[str]) -> ItemFailure | None:
    """Why no image has an answer, where there are more classes than names for them."""
    if classes is None or not labels or classes <= len(labels):
        return None
    return model_failure(
        f"The model gave scores of {classes:,} classes, and has {len(labels):,} labels: give its "
        "labels file a line for each."
    )


def _from_class(
    asked: Boxes, output: Any, labels: Sequence[str], size: Size
) -> _Objects | ItemFailure:
    """The objects of one output of a user's class. Boxes that overlap are as it wants them."""
    try:
        given = boxes_of(output, labels)
    except UnusableOutput as refused:
        return refused.as_failure()
    boxes = _in_original(given.boxes, asked, size)
    are_kept = _have_area(boxes) & (given.scores >= asked.min_score)
    order = np.argsort(-given.scores, kind="stable")
    best = order[are_kept[order]][: asked.max_boxes]
    return _Objects([given.labels[n] for n in best], given.scores[best], boxes[best])


def _in_original(boxes: Numbers, asked: Boxes, size: Size) -> Numbers:
    """Boxes on the canvas as pixels of the original, clipped to it: float32."""
    moved = view_of(asked).place(size).to_original(boxes, size)
    clipped = np.clip(moved, 0, [*size, *size])
    return np.asarray(clipped, np.float32)


def _have_area(boxes: Numbers) -> npt.NDArray[np.bool_]:
    return np.asarray((boxes[:, :2] < boxes[:, 2:]).all(axis=1))


def _column(asked: Boxes, found: Sequence[_Objects | ItemFailure]) -> pa.Array:
    """The objects of each image as an answer; null where it failed."""
    kind = asked.answer_type()
    objects = [each for each in found if isinstance(each, _Objects)]
    counts = [len(each.labels) if isinstance(each, _Objects) else 0 for each in found]
    labels = [label for each in objects for label in each.labels]
    scores = np.concatenate([each.scores for each in objects]) if objects else np.zeros(0)
    sides = np.concatenate([each.boxes for each in objects]) if objects else np.zeros((0, 4))
    numbers = np.column_stack([scores, sides]).astype(np.float32)
    flat = pa.StructArray.from_arrays(
        [pa.array(labels, pa.string()), *(pa.array(column.copy()) for column in numbers.T)],
        fields=list(kind.value_type),
    )
    return pa.ListArray.from_arrays(
        pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32()),
        flat,
        type=kind,
        mask=pa.array([isinstance(each, ItemFailure) for each in found], pa.bool_()),
    )
