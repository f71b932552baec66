"""A detector's candidates, or the boxes of a user's class, as the best objects of each image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from shared.analyses.boxes import Boxes
from shared.item import ItemFailure
from shared.placement import Size
from workers.inference.errors import ModelUnusable
from workers.inference.heads.box_agreement import LOOKED_AT, agree
from workers.inference.heads.candidate_checks import (
    failures_of,
    finite_candidates,
    selected,
    too_many_classes,
)
from workers.inference.heads.given_boxes import objects_of
from workers.inference.heads.nms import suppress
from workers.inference.heads.objects import Objects, answers_of, have_area, in_original
from workers.inference.heads.port import ClassOutputs, HeadAnswers, NetworkOutputs
from workers.inference.layouts import LAYOUTS, Candidates, Layout, layout_of


class BoxesHead:
    """Reads candidates as the network's layout has them, and boxes of a user's class.

    A candidate that is not finite is dropped. An image fails where most of the network's numbers
    are not finite, or where a score is above 1, and no probability.
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
            return answers_of(analysis, _from_network(analysis, outputs, labels, sizes))
        given = zip(outputs, sizes, strict=True)
        return answers_of(
            analysis, [objects_of(analysis, out, labels, size) for out, size in given]
        )

    def agreement(
        self, exact: NetworkOutputs, other: NetworkOutputs
    ) -> npt.NDArray[np.bool_] | None:
        """Whether each finds the best objects of the other."""
        if "boxes" not in exact.arrays:
            return None
        found, others = (_best_on_canvas(outputs) for outputs in (exact, other))
        return agree(found, others)


HEAD = BoxesHead()


def _from_network(
    asked: Boxes, outputs: NetworkOutputs, labels: Sequence[str], sizes: Sequence[Size]
) -> list[Objects | ItemFailure]:
    """The objects of each image, or why it has no answer."""
    layout = _layout(outputs)
    if failure := too_many_classes(layout.classes(outputs.arrays), labels):
        return [failure] * len(sizes)
    candidates = finite_candidates(layout, outputs, asked.min_score)
    failures = failures_of(candidates, layout.spoiled(outputs.arrays), labels)
    found: list[Objects | ItemFailure] = []
    for image, of in enumerate(_best_first(candidates, len(sizes))):
        if image in failures:
            found.append(failures[image])
            continue
        boxes = in_original(candidates.boxes[of], asked, sizes[image])
        are_seen = have_area(boxes)
        of, boxes = of[are_seen], boxes[are_seen]
        kept = _kept(layout, candidates, of, asked.overlap, asked.max_boxes)
        classes = candidates.classes[of[kept]].tolist()
        named = [labels[number] if labels else str(number) for number in classes]
        found.append(Objects(named, np.minimum(candidates.scores[of[kept]], 1), boxes[kept]))
    return found


def _kept(
    layout: Layout, candidates: Candidates, of: npt.NDArray[np.intp], overlap: float, most: int
) -> npt.NDArray[np.intp]:
    """Which of one image's candidates ``of``, the best first, are objects."""
    if layout.is_final:
        return np.arange(len(of))[:most]
    return suppress(candidates.boxes[of], candidates.classes[of], overlap, most)


def _best_on_canvas(outputs: NetworkOutputs) -> list[Candidates]:
    """The best objects of each image, whatever their scores, the best first."""
    layout, overlap = _layout(outputs), Boxes.model_fields["overlap"].default
    candidates = finite_candidates(layout, outputs, 0)
    return [
        selected(candidates, of[_kept(layout, candidates, of, overlap, LOOKED_AT)])
        for of in _best_first(candidates, len(outputs.array("boxes")))
    ]


def _layout(outputs: NetworkOutputs) -> Layout:
    """The layout of the outputs. Raises ModelUnusable where there is none."""
    outputs.array("boxes")
    if outputs.layout not in LAYOUTS:
        raise ModelUnusable(
            f"The model's layout is {outputs.layout}, and none of {', '.join(LAYOUTS)}.",
            "Add the model again, with one of these as its --layout.",
        )
    return layout_of(outputs.layout)


def _best_first(candidates: Candidates, images: int) -> list[npt.NDArray[np.intp]]:
    """The numbers of each image's candidates, the best first, and of equals the first."""
    order = np.lexsort((-candidates.scores, candidates.images))
    ends = np.searchsorted(candidates.images[order], np.arange(images + 1))
    return [order[start:end] for start, end in pairwise(ends)]
