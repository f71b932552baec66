"""The outputs of a user's graph, as a run of it shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from workers.inference.graphs.images import ImageInput
from workers.inference.graphs.reading import graphs_in
from workers.inference.graphs.running import Runnable
from workers.inference.graphs.wrapping import SMALLEST_SHARE, Output

# How many numbers they give depends on the numbers that they get.
_BY_VALUE = ("NonMaxSuppression", "NonZero", "Unique", "Compress", "If")


def found_outputs(
    model: onnx.ModelProto,
    taken: ImageInput,
    graph: Runnable,
    runs: Sequence[Mapping[str, npt.NDArray[Any]]],
) -> list[Output]:
    """The graph's outputs, under its own names. ``runs``: its arrays for single images.

    A side that the file leaves open is what the runs found, unless it may depend on the image.
    """
    by_value = any(
        node.op_type in _BY_VALUE for each, _ in graphs_in(model.graph) for node in each.node
    )
    return [
        _output(name, declared, [run[name] for run in runs], taken, by_value=by_value)
        for name, declared in zip(graph.names, graph.declared, strict=True)
    ]


def _output(
    name: str,
    declared: Sequence[int | str | None],
    found: Sequence[npt.NDArray[Any]],
    taken: ImageInput,
    *,
    by_value: bool,
) -> Output:
    sides: list[int | None] = list(found[0].shape)
    for place in range(len(sides)):
        said = declared[place] if place < len(declared) else None
        is_open = not isinstance(said, int)
        is_batch = place == 0 and bool(taken.batch) and said == taken.batch
        varies = len({array.shape[place] for array in found}) > 1
        if not is_batch and (varies or (by_value and is_open)):
            sides[place] = None
    is_batched = bool(sides) and sides[0] == 1
    shape = tuple(sides[1:] if is_batched else sides)
    return Output(name, "", shape, is_batched, is_integer=found[0].dtype.kind in "iub")


def as_given(output: Output, arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """The batch that a wrapped graph has to give, from the user's arrays for single images."""
    batch = np.zeros((len(arrays), *output.given_shape), np.float32)
    for given, array in zip(batch, arrays, strict=True):
        one = array[0] if output.is_batched else array
        one = one.reshape(given.shape) if output.is_row else one
        one = one.astype(np.float32)
        if output.columns is not None:
            one = one[..., slice(*output.columns)]
        one = one - np.float32(output.lowered)
        if output.is_logarithm:
            one = np.log(np.maximum(one, SMALLEST_SHARE))
        cut = one[tuple(slice(side) for side in given.shape)]
        given[tuple(slice(side) for side in cut.shape)] = cut
    return batch


def without_softmax(graph: onnx.GraphProto, name: str) -> bool:
    """Leave out a softmax that the output ends with: an analysis of classes has one itself.

    Returns whether there was one.
    """
    makers = {made: node for node in graph.node for made in node.output}
    read = [given for each, _ in graphs_in(graph) for node in each.node for given in node.input]
    last = makers.get(name)
    while last is not None and last.op_type in ("Cast", "Identity", "Flatten", "Reshape"):
        if read.count(last.input[0]) > 1:
            return False
        last = makers.get(last.input[0])
    if last is None or last.op_type != "Softmax" or read.count(last.output[0]) > 1:
        return False
    axis = next((int(each.i) for each in last.attribute if each.name == "axis"), 1)
    if axis not in (1, -1):
        return False
    last.op_type = "Identity"
    del last.attribute[:]
    return True
