"""Reads the meaning of outputs from a run: probabilities, a background, labels from 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from workers.inference.graphs.classifiers import SCORES
from workers.inference.graphs.refusals import refused
from workers.inference.graphs.running import Runnable
from workers.inference.graphs.wrapping import Output
from workers.inference.layouts.values import are_probabilities

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]

# Of a softmax in float16.
_ROUNDING = 5e-3
# The background's share of most places, where an image has a few objects.
_MOST = 0.5


def without_second_softmax(outputs: Sequence[Output], scores: Array) -> tuple[list[Output], str]:
    """The outputs of a classifier, with logarithms of its ``scores`` (images, classes) if they are
    shares: a softmax of those gives the shares again. The text says so, where they are."""
    if _sum_to_one(scores):
        found = [replace(out, is_logarithm=out.name == SCORES) for out in outputs]
        return found, "Its scores have been through a softmax, which stays the only one."
    if are_probabilities(scores):
        return list(outputs), (
            "Its scores are all from 0 to 1, as those of a sigmoid: give the analysis the option "
            "`softmax: false` to have them as they are."
        )
    return list(outputs), ""


def without_background(
    outputs: Sequence[Output], arrays: Arrays
) -> tuple[list[Output], int | None]:
    """The outputs of a detector without the background's column, if it has one.

    Scores that sum to 1 are those of a softmax. So one of its classes is the background: the last
    where most places have that, else the first. Returns its number, None where there is none.
    """
    scores = arrays.get("box_scores")
    if scores is None or not _sum_to_one(scores):
        return list(outputs), None
    count = scores.shape[-1]
    place = count - 1 if scores[..., -1].mean() > _MOST else 0
    kept = (0, count - 1) if place else (1, count)
    return [
        replace(out, columns=kept) if out.name == "box_scores" else out for out in outputs
    ], place


def with_labels_from_zero(
    outputs: Sequence[Output], arrays: Arrays, labels: int | None, has_background: bool
) -> tuple[list[Output], bool]:
    """The outputs of a detector that gives labels, which become numbers from 0 on.

    Those of a network that ``has_background`` count from 1. So do those whose highest label is the
    number of ``labels``. A label 0 in the run means that neither does. Returns whether they count
    from 1. Raises PermanentError for a label without a name.
    """
    found = arrays["box_labels"][arrays["box_scores"] > 0]
    highest = int(found.max(initial=0))
    from_one = not (found == 0).any() and (has_background or 0 < highest == labels)
    if labels is not None and len(found) and highest >= labels + from_one:
        raise refused(
            f"The network gives boxes the label {highest}, and there are labels for {labels}.",
            "Give a label for each class, in the network's order.",
        )
    return [
        replace(out, lowered=int(from_one and out.name == "box_labels")) for out in outputs
    ], from_one


def softmax_widths(model: onnx.ModelProto, path: Path, given: Array) -> set[int]:
    """How many numbers the softmaxes of a graph share out, in a run on ``given``.

    One of them may be that of a detector's classes, which counts the background. ``path``: for a
    temporary file.
    """
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    names = [node.output[0] for node in model.graph.node if node.op_type == "Softmax"]
    if not names:
        return set()
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    path.write_bytes(shown.SerializeToString())
    return {array.shape[-1] for array in Runnable(path).run(given).values() if array.ndim > 1}


def _sum_to_one(values: Array) -> bool:
    """Whether they are shares of 1 along the last side."""
    sums = values.sum(axis=-1, dtype=np.float64)
    is_split = values.shape[-1] > 1
    return is_split and are_probabilities(values) and bool((np.abs(sums - 1) < _ROUNDING).all())
