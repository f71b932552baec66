"""The objects of each image, in pixels of the original, and the answers that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shared.analyses.boxes import Boxes
from shared.answers import MAX_ANSWER_BYTES
from shared.item import ItemFailure
from shared.pipeline import view_of
from shared.placement import Size
from workers.inference.errors import model_failure
from workers.inference.heads.port import HeadAnswers

Numbers = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of one image, the best first.

    ``boxes``: float32 (objects, 4), x1, y1, x2, y2 in pixels of the original.
    """

    labels: Sequence[str]
    scores: Numbers
    boxes: Numbers


def in_original(boxes: Numbers, asked: Boxes, size: Size) -> Numbers:
    """Boxes on the canvas as pixels of the original, clipped to it: float32."""
    moved = view_of(asked).place(size).to_original(boxes, size)
    clipped = np.clip(moved, 0, [*size, *size])
    return np.asarray(clipped, np.float32)


def have_area(boxes: Numbers) -> npt.NDArray[np.bool_]:
    """Whether each box is left in the original."""
    return np.asarray((boxes[:, :2] < boxes[:, 2:]).all(axis=1))


def answers_of(asked: Boxes, found: Sequence[Objects | ItemFailure]) -> HeadAnswers:
    """The answers for images of one chunk. Those whose labels do not fit into a message fail."""
    fitting = _with_labels_that_fit(found)
    failures = {n: each for n, each in enumerate(fitting) if isinstance(each, ItemFailure)}
    return HeadAnswers(_column(asked, fitting), failures)


def _with_labels_that_fit(
    found: Sequence[Objects | ItemFailure],
) -> list[Objects | ItemFailure]:
    """The same, with a failure for images whose labels are too long; the shorter ones fit first.

    A message refuses them anyway, and Arrow cannot hold the labels of an array beyond 2 GiB.
    """
    fitting = list(found)
    characters = {
        image: sum(map(len, each.labels))
        for image, each in enumerate(found)
        if isinstance(each, Objects)
    }
    taken = 0
    for image in sorted(characters, key=characters.__getitem__):
        taken += characters[image]
        if taken > MAX_ANSWER_BYTES:
            fitting[image] = model_failure(
                f"The labels of its boxes have {characters[image]:,} characters, and the boxes of "
                f"a chunk have {MAX_ANSWER_BYTES:,} together, of which the smaller ones took "
                "theirs first: give shorter labels, or set max_boxes."
            )
    return fitting


def _column(asked: Boxes, found: Sequence[Objects | ItemFailure]) -> pa.Array:
    """The objects of each image as an answer; null where it failed."""
    kind = asked.answer_type()
    objects = [each for each in found if isinstance(each, Objects)]
    counts = [len(each.labels) if isinstance(each, Objects) else 0 for each in found]
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
