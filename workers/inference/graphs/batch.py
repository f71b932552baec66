"""Frees a graph from the single image that its export was made with, where that is safe.

Exporters write the number of images into constants: the shapes that arrays are given, and what is
joined to them. A run over several images says whether the result is right; this does not.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

_OURS = "headrace_batch_"
# Read the shape of an array, and no more of it.
_SHAPE_ONLY = ("Shape", "Size")
# Of shapes. A vision transformer's positions have some thousand times a thousand numbers.
_MAX_SHAPE_BYTES = 1024


def free_batch(graph: onnx.GraphProto, images: str) -> None:
    """Change the graph in place, so that its input ``images`` may have any number of them."""
    _Freed(graph, images).free()


class _Freed:
    def __init__(self, graph: onnx.GraphProto, images: str) -> None:
        self._graph, self._images = graph, images
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value":
                    self._tensors[node.output[0]] = attribute.t
        self._made: list[onnx.NodeProto] = []
        self._names = itertools.count()

    def free(self) -> None:
        follows = {self._images}  # the arrays that depend on the images' pixels
        nodes: list[onnx.NodeProto] = []
        for node in self._graph.node:
            if node.op_type not in _SHAPE_ONLY and follows.intersection(node.input):
                follows.update(node.output)
                self._free_node(node, follows)
            nodes += [*self._made, node]
            self._made.clear()
        del self._graph.node[:]
        self._graph.node.extend(nodes)

    def _free_node(self, node: onnx.NodeProto, follows: set[str]) -> None:
        if node.op_type == "Reshape":
            shape = self._shape(node, 1)
            if shape and shape[0] == 1 and len(shape) > 1 and 0 not in shape:
                # The number of images is that of the array before, or what is left over.
                first = 0 if -1 in shape else -1
                del node.attribute[:]  # allowzero, by which 0 would be no such number
                node.input[1] = self._constant(np.array([first, *shape[1:]]))
        elif node.op_type == "Resize" and len(node.input) > 3:
            shape = self._shape(node, 3)
            if shape and shape[0] == 1 and not any(each.name == "axes" for each in node.attribute):
                node.input[3] = self._with_batch(shape)
        elif node.op_type == "Concat":
            for place, name in enumerate(node.input):
                if name not in follows and self._axis(node) != 0:
                    node.input[place] = self._repeated(name)

    def _repeated(self, name: str) -> str:
        """What is the same for all images as one for each, such as a transformer's class token."""
        tensor = self._tensors.get(name)
        if tensor is not None and list(tensor.dims[:1]) != [1]:
            return name
        bounds = [self._constant(np.array([number])) for number in (1, np.iinfo(np.int64).max)]
        rest = self._node("Slice", [self._node("Shape", [name]), *bounds])
        return self._node("Expand", [name, self._joined(rest)])

    def _with_batch(self, shape: Sequence[int]) -> str:
        """The shape with the number of images for its first side."""
        return self._joined(self._constant(np.array(shape[1:], np.int64)))

    def _joined(self, rest: str) -> str:
        """The number of images, and the sides ``rest`` after it."""
        sizes = self._node("Shape", [self._images])
        number = self._node("Gather", [sizes, self._constant(np.array([0]))])
        return self._node("Concat", [number, rest], axis=0)

    def _shape(self, node: onnx.NodeProto, place: int) -> list[int]:
        """The constant that a node has as a shape; empty where it has none."""
        tensor = self._tensors.get(node.input[place])
        if tensor is None or tensor.ByteSize() > _MAX_SHAPE_BYTES:
            return []
        try:
            return [int(side) for side in numpy_helper.to_array(tensor).ravel()]
        except (TypeError, ValueError):  # nonsense, which ONNX Runtime refuses
            return []

    @staticmethod
    def _axis(node: onnx.NodeProto) -> int:
        return next((int(each.i) for each in node.attribute if each.name == "axis"), 0)

    def _node(self, operator: str, given: list[str], **attributes: int) -> str:
        name = self._name()
        self._made.append(helper.make_node(operator, given, [name], **attributes))
        return name

    def _constant(self, value: npt.NDArray[Any]) -> str:
        name = self._name()
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def _name(self) -> str:
        return f"{_OURS}{next(self._names)}"
