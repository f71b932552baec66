"""TensorFlow's operations as ONNX's. Images are (batch, height, width, channels) there, and
(batch, channels, height, width) here; what the heads give is (batch, anchors, values) in both."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.inference.formats.tensorflow_ssd.frozen_graph import Node
from workers.inference.formats.tensorflow_ssd.wire import Malformed
from workers.inference.graph_writer import GraphWriter

_ELEMENTWISE = {"Add": "Add", "AddV2": "Add", "Sub": "Sub", "Mul": "Mul", "RealDiv": "Div"}
_UNARY = {"Relu": "Relu", "Sigmoid": "Sigmoid"}
_BATCH_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_PLACES = (1, 2)  # height and width


class UnknownOperation(Exception):
    """An operation that is not converted."""


class Converter:
    """Writes the operations that an array needs, each of them once."""

    def __init__(self, nodes: dict[str, Node], writer: GraphWriter) -> None:
        self._nodes = nodes
        self._writer = writer
        self._written: dict[str, str] = {}

    def write(self, wanted: str) -> str:
        """Write what the node gives. Returns the array's name in the graph.

        Raises Malformed, and UnknownOperation.
        """
        for name in self._in_order(wanted):
            if name not in self._written and not self._is_constant(name):
                self._written[name] = self._convert(self._nodes[name])
        return self._array(wanted)

    def constant(self, name: str) -> npt.NDArray[Any]:
        """The value of a constant, perhaps behind identities. Raises Malformed."""
        seen: set[str] = set()
        while (node := self._node(name)).op == "Identity" and node.inputs and name not in seen:
            seen.add(name)
            name = node.inputs[0]
        if node.op != "Const":
            raise Malformed(f"'{name[:100]}' is no constant")
        return node.value

    def _is_constant(self, name: str) -> bool:
        try:
            self.constant(name)
        except Malformed:
            return False
        return True

    def _node(self, name: str) -> Node:
        if name not in self._nodes:
            raise Malformed(f"the node '{name[:100]}' is missing")
        return self._nodes[name]

    def _in_order(self, wanted: str) -> list[str]:
        """The node and all that it needs, what is needed first."""
        needs: dict[str, tuple[str, ...]] = {}
        left = [wanted]
        while left:
            name = left.pop()
            if name not in needs:
                needs[name] = self._node(name).inputs
                left.extend(needs[name])
        try:
            return list(TopologicalSorter(needs).static_order())
        except CycleError as error:
            raise Malformed("its nodes need each other in a circle") from error

    def _array(self, name: str) -> str:
        """An array that was written, or a constant that goes with one of images."""
        if name in self._written:
            return self._written[name]
        value = self.constant(name)
        if value.ndim > 1:
            raise Malformed(f"'{name[:100]}' is a constant of {value.ndim} dimensions")
        return self._writer.constant(value.reshape(-1, 1, 1) if value.ndim else value)

    def _convert(self, node: Node) -> str:
        op, add = node.op, self._writer.add
        if op == "Placeholder":
            return self._writer.pixels
        if op == "ConcatV2":
            return add("Concat", [self._array(each) for each in node.inputs[:-1]], axis=1)
        if op in _ELEMENTWISE:
            return add(_ELEMENTWISE[op], [self._array(each) for each in node.inputs])
        if not node.inputs:
            raise UnknownOperation(op)
        given = self._array(node.inputs[0])
        if op in ("Identity", "Squeeze"):  # the heads' arrays have no side of 1 here
            return given
        if op in _UNARY:
            return add(_UNARY[op], [given])
        if op == "Relu6":
            return add("Clip", [given, *map(self._writer.constant, (0.0, 6.0))])
        if op in ("Conv2D", "DepthwiseConv2dNative"):
            return self._convolution(node, given)
        if op in _BATCH_NORMS:
            numbers = [self._vector(name) for name in node.inputs[1:5]]
            return add("BatchNormalization", [given, *numbers], epsilon=node.number("epsilon"))
        if op == "BiasAdd":
            return add("Add", [given, self._array(_second(node))])
        if op == "Mean":
            return self._mean(node, given)
        if op == "Reshape":
            return self._rows(node, given)
        raise UnknownOperation(op)

    def _vector(self, name: str) -> str:
        value = self.constant(name)
        if value.ndim != 1:
            raise Malformed(f"'{name[:100]}' is not one number for each channel")
        return self._writer.constant(value)

    def _convolution(self, node: Node, given: str) -> str:
        kernel = self.constant(_second(node))
        strides = node.integers("strides")
        dilations = node.integers("dilations", (1, 1, 1, 1))
        if kernel.ndim != 4 or len(strides) != 4 or len(dilations) != 4:
            raise Malformed(f"the convolution '{node.name[:100]}' is not in two dimensions")
        if node.text("padding") not in ("SAME", "VALID"):
            raise UnknownOperation(f"{node.op} with explicit padding")
        groups = 1
        if node.op == "Conv2D":
            ours = kernel.transpose(3, 2, 0, 1)
        else:
            height, width, groups, times = kernel.shape
            ours = kernel.transpose(2, 3, 0, 1).reshape(groups * times, 1, height, width)
        return self._writer.add(
            "Conv",
            [given, self._writer.constant(ours)],
            kernel_shape=list(ours.shape[2:]),
            strides=list(strides[1:3]),
            dilations=list(dilations[1:3]),
            group=groups,
            auto_pad="SAME_UPPER" if node.text("padding") == "SAME" else "VALID",
        )

    def _mean(self, node: Node, given: str) -> str:
        axes = self.constant(_second(node)).reshape(-1).tolist()
        if tuple(sorted(axes)) != _PLACES:
            raise UnknownOperation("Mean over other axes than height and width")
        where = self._writer.constant([2, 3], np.int64)
        return self._writer.add("ReduceMean", [given, where], keepdims=1)

    def _rows(self, node: Node, given: str) -> str:
        """A head's map as rows, one an anchor: the only use of Reshape in such a detector."""
        shape = self.constant(_second(node)).reshape(-1).tolist()
        if not shape or shape[-1] < 1:
            raise UnknownOperation("Reshape to no rows")
        by_place = self._writer.add("Transpose", [given], perm=[0, 2, 3, 1])
        rows = self._writer.constant([0, -1, shape[-1]], np.int64)
        return self._writer.add("Reshape", [by_place, rows])


def _second(node: Node) -> str:
    if len(node.inputs) < 2:
        raise Malformed(f"'{node.name[:100]}' has one input instead of two")
    return node.inputs[1]
