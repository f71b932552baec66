"""Makes a user's graph one that takes our images and gives arrays by our names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from shared.analyses.boxes import MAX_BOXES
from shared.placement import Size
from workers.inference.graphs.images import ImageInput, Pixels
from workers.inference.graphs.reading import graphs_in

IMAGES, BATCH = "images", "batch"
# In place of a share of 0, which has no logarithm. Float32 has smaller ones, in few digits alone.
SMALLEST_SHARE = np.float32(1e-37)
_OURS = "headrace_"
_RESERVED = (IMAGES, "scores", "features", "boxes", "box_scores", "box_labels")
_ELEMENTS = {
    "float32": onnx.TensorProto.FLOAT,
    "float16": onnx.TensorProto.FLOAT16,
    "uint8": onnx.TensorProto.UINT8,
}


@dataclass(frozen=True, slots=True)
class Output:
    """One array of the result. ``source``: its name in the user's graph; ``name``: in ours.

    ``shape``: for one image, without the batch; None for a side that depends on the image, which
    becomes ``MAX_BOXES``. ``is_batched``: whether its first side is the batch. ``is_row``: whether
    all sides but the batch become one. ``is_integer``: whether it has whole numbers, as labels.
    ``columns``: the first of those on its last side that are kept, and the end; None: all.
    ``lowered``: the number that is subtracted. ``is_logarithm``: whether their logarithm is given.
    """

    source: str
    name: str
    shape: tuple[int | None, ...]
    is_batched: bool = True
    is_row: bool = False
    is_integer: bool = False
    columns: tuple[int, int] | None = None
    lowered: int = 0
    is_logarithm: bool = False

    @property
    def given_shape(self) -> tuple[int, ...]:
        """As the result has it, for one image."""
        sides = [MAX_BOXES if side is None else side for side in self.shape]
        if self.columns is not None:
            sides[-1] = self.columns[1] - self.columns[0]
        return tuple(sides)

    @property
    def depends_on_image(self) -> bool:
        """Whether images give different numbers of numbers."""
        return None in self.shape


def wrap(
    model: onnx.ModelProto,
    taken: ImageInput,
    canvas: Size,
    pixels: Pixels,
    outputs: Sequence[Output],
    *,
    batch: int | None,
) -> None:
    """Change the model in place. ``batch``: None for any number of images.

    The result takes uint8 RGB of shape (batch, height, width, 3), and gives float32 alone.
    """
    graph = model.graph
    renamed = _rename(graph)
    width, height = canvas
    builder = _Builder(graph)
    before = builder.nodes_before(renamed(taken.name), taken, canvas, pixels)
    after = [
        node for output in outputs for node in builder.nodes_after(renamed(output.source), output)
    ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.value_info[:], graph.input[:], graph.output[:]
    del model.metadata_props[:]
    graph.node.extend(nodes)
    first = BATCH if batch is None else batch
    shape = [first, height, width, 3]
    graph.input.append(helper.make_tensor_value_info(IMAGES, onnx.TensorProto.UINT8, shape))
    graph.output.extend(
        helper.make_tensor_value_info(
            output.name, onnx.TensorProto.FLOAT, [first, *output.given_shape]
        )
        for output in outputs
    )


def _rename(graph: onnx.GraphProto) -> Any:
    """Free our names in all scopes alike. Returns the function that renames one."""

    def renamed(name: str) -> str:
        is_ours = name in _RESERVED or name.startswith(_OURS)
        return f"{_OURS}was_{name}" if is_ours else name

    for each, _ in graphs_in(graph):
        for named in (*each.initializer, *each.input, *each.output):
            named.name = renamed(named.name)
        for sparse in each.sparse_initializer:
            sparse.values.name = renamed(sparse.values.name)
        for node in each.node:
            node.input[:] = [renamed(name) for name in node.input]
            node.output[:] = [renamed(name) for name in node.output]
    return renamed


class _Builder:
    """Makes nodes of ours, and the constants that they need. Their names start with ``_OURS``."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._made = 0

    def nodes_before(
        self, name: str, taken: ImageInput, canvas: Size, pixels: Pixels
    ) -> list[onnx.NodeProto]:
        """From our images to the graph's own input ``name``."""
        steps: list[tuple[str, list[str], dict[str, Any]]] = []
        if pixels.channels == "bgr":
            steps.append(("Gather", [self._constant(np.array([2, 1, 0]))], {"axis": 3}))
        if taken.channels_first:
            steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
        if taken.dtype != "uint8":
            steps.append(("Cast", [], {"to": onnx.TensorProto.FLOAT}))
            sides = (1, 3, 1, 1) if taken.channels_first else (1, 1, 1, 3)
            scale, shift = pixels.factors()
            if (scale != 1).any():
                steps.append(("Mul", [self._constant(scale.reshape(sides))], {}))
            if shift.any():
                steps.append(("Add", [self._constant(shift.reshape(sides))], {}))
            if taken.dtype == "float16":
                steps.append(("Cast", [], {"to": onnx.TensorProto.FLOAT16}))
        if not taken.is_batched:
            width, height = canvas
            shape = (3, height, width) if taken.channels_first else (height, width, 3)
            steps.append(("Reshape", [self._constant(np.array(shape))], {}))
        return self._chain(IMAGES, steps, name)

    def nodes_after(self, name: str, output: Output) -> list[onnx.NodeProto]:
        """From the graph's own array ``name`` to our output."""
        steps: list[tuple[str, list[str], dict[str, Any]]] = [
            ("Cast", [], {"to": onnx.TensorProto.FLOAT})
        ]
        if output.is_row:
            steps.append(("Flatten", [], {"axis": 1}))
        if output.columns is not None:
            axis = len(output.shape) - 1 + output.is_batched
            bounds = [self._constant(np.array([number])) for number in (*output.columns, axis)]
            steps.append(("Slice", bounds, {}))
        if output.lowered:
            steps.append(("Sub", [self._constant(np.float32(output.lowered))], {}))
        if output.is_logarithm:
            steps.append(("Max", [self._constant(SMALLEST_SHARE)], {}))
            steps.append(("Log", [], {}))
        if output.depends_on_image:
            axis = output.shape.index(None) + output.is_batched
            zeros = np.zeros([1] * output.is_batched + [*output.given_shape], np.float32)
            bounds = [self._constant(np.array([number])) for number in (0, MAX_BOXES, axis)]
            steps.append(("Concat", [self._constant(zeros)], {"axis": axis}))
            steps.append(("Slice", bounds, {}))
        if not output.is_batched:
            shape = np.array([1, *output.given_shape])
            steps.append(("Reshape", [self._constant(shape)], {}))
        return self._chain(name, steps, output.name)

    def _chain(
        self, first: str, steps: list[tuple[str, list[str], dict[str, Any]]], last: str
    ) -> list[onnx.NodeProto]:
        """Nodes one after the other, from the array ``first`` to the array ``last``."""
        nodes, name = [], first
        for number, (operator, more, attributes) in enumerate(steps or [("Identity", [], {})], 1):
            given = last if number >= len(steps) else self._name()
            nodes.append(helper.make_node(operator, [name, *more], [given], **attributes))
            name = given
        return nodes

    def _constant(self, value: npt.NDArray[Any] | np.float32) -> str:
        name = self._name()
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _name(self) -> str:
        self._made += 1
        return f"{_OURS}{self._made}"
