"""Small frozen graphs of TensorFlow, written byte by byte, as SSDs of its zoo are."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

SIDE, ANCHORS, CLASSES = 16, 16, 3
POSTPROCESS = "TFLite_Detection_PostProcess"


def varint(number: int) -> bytes:
    """A number of variable length."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def sized(number: int, data: bytes) -> bytes:
    """A field with a length."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def counted(number: int, value: int) -> bytes:
    """A field of a whole number."""
    return varint(number << 3) + varint(value)


def attribute(value: Any) -> bytes:
    """A value of an attribute: an array, a text, a float, a number, or a list of numbers."""
    if isinstance(value, np.ndarray):
        return sized(8, tensor(value))
    if isinstance(value, str):
        return sized(2, value.encode())
    if isinstance(value, float):
        return varint(4 << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return counted(3, value)
    return sized(1, sized(3, b"".join(map(varint, value))))


def shape(sides: Sequence[int]) -> bytes:
    """A ``TensorShapeProto``."""
    return b"".join(sized(2, counted(1, side)) for side in sides)


def tensor(values: npt.NDArray[Any]) -> bytes:
    """A ``TensorProto``; one number of float32 is written in its list of floats."""
    kind = {"f": 1, "i": 3}[values.dtype.kind]
    head = counted(1, kind) + sized(2, shape(values.shape))
    if kind == 1 and values.size == 1:
        return head + varint(5 << 3 | 5) + struct.pack("<f", values.item())
    return head + sized(4, values.tobytes())


def node(name: str, op: str, inputs: Sequence[str] = (), **attributes: Any) -> bytes:
    """A node of a graph, as its field. ``raw_…`` attributes are written as they are."""
    body = sized(1, name.encode()) + sized(2, op.encode())
    body += b"".join(sized(3, each.encode()) for each in inputs)
    for key, value in attributes.items():
        said = value if key.startswith("raw_") else attribute(value)
        body += sized(5, sized(1, key.removeprefix("raw_").encode()) + sized(2, said))
    return sized(1, body)


def constant(name: str, values: Any) -> bytes:
    """A constant of float32 or int32, and the identity that it is read through."""
    array = np.asarray(values)
    array = array.astype(np.int32 if array.dtype.kind == "i" else np.float32)
    return node(name, "Const", value=array) + node(f"{name}/read", "Identity", [name])


class SmallSsd:
    """A detector of 16×16 pixels with one map of 4×4 places and a box at each.

    It has every kind of layer that the zoo's SSDs have. ``nodes`` are its fields by name, so that
    a test may change one; ``weights`` are its arrays, in TensorFlow's order of sides.
    """

    def __init__(self) -> None:
        random = np.random.default_rng(1)
        draw = lambda *sides: random.normal(0, 0.4, sides).astype(np.float32)  # noqa: E731
        self.weights = {
            "first": draw(3, 3, 3, 8),
            "deep": draw(3, 3, 8, 1),
            "gate": draw(1, 1, 8, 8),
            "boxes": draw(1, 1, 8, 4),
            "scores": draw(1, 1, 8, CLASSES + 1),
            "bias": draw(8),
            "gamma": 1 + draw(8) / 4,
            "beta": draw(8),
            "mean": draw(8),
            "variance": 1 + draw(8) ** 2,
            "anchors": random.uniform(0.2, 0.8, (ANCHORS, 4)).astype(np.float32),
        }
        self.nodes: dict[str, bytes] = {
            name: constant(name, values) for name, values in self.weights.items()
        }
        for name, value in (("three", 3.0), ("sixth", 1 / 6)):
            self.nodes[name] = constant(name, np.float32(value))
        for name, numbers in (
            ("places", [1, 2]),
            ("box_rows", [1, -1, 1, 4]),
            ("score_rows", [1, -1, CLASSES + 1]),
            ("axis", [1]),
        ):
            self.nodes[name] = constant(name, np.array(numbers, np.int32))
        self._layers()

    def add(self, name: str, op: str, *inputs: str, **attributes: Any) -> None:
        """A node, in place of one of that name."""
        self.nodes[name] = node(name, op, inputs, **attributes)

    def _layers(self) -> None:
        add, once, twice = self.add, [1, 1, 1, 1], [1, 2, 2, 1]
        same: dict[str, Any] = {"padding": "SAME", "strides": twice, "dilations": once}
        pixels = sized(7, shape((1, SIDE, SIDE, 3)))
        add("image", "Placeholder", raw_shape=pixels)
        add("conv", "Conv2D", "image:0", "first/read", **same)
        norm = ("gamma/read", "beta/read", "mean/read", "variance/read")
        add("norm", "FusedBatchNormV3", "conv", *norm, epsilon=0.001)
        add("plus", "AddV2", "norm", "three")
        add("clipped", "Relu6", "plus")
        add("swish", "Mul", "norm", "clipped")
        add("swished", "Mul", "swish", "sixth")
        add("conv2", "DepthwiseConv2dNative", "swished", "deep/read", **same)
        add("relu", "Relu", "conv2")
        add("squeezed", "Mean", "relu", "places")
        add("gated", "Conv2D", "squeezed", "gate/read", **same | {"strides": once})
        add("biased", "BiasAdd", "gated", "bias/read")
        add("gates", "Sigmoid", "biased")
        add("features", "Mul", "relu", "gates", "^image")
        for name, rows in (("boxes", "box_rows"), ("scores", "score_rows")):
            add(f"{name}_map", "Conv2D", "features", f"{name}/read", **same | {"strides": once})
            add(f"{name}_list", "Reshape", f"{name}_map", rows)
            add(f"{name}_all", "ConcatV2", f"{name}_list", "axis")
        add("encodings", "Squeeze", "boxes_all")
        add("probabilities", "Sigmoid", "scores_all")
        self.end()

    def end(self, **changed: Any) -> None:
        """The last node, with some attributes changed; None: without it."""
        scales = {"y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0}
        said = {"num_classes": CLASSES, **scales, **changed}
        said = {name: value for name, value in said.items() if value is not None}
        self.add("end", POSTPROCESS, "encodings", "probabilities", "anchors", **said)

    def bytes(self) -> bytes:
        """The file, its nodes in no useful order."""
        return b"".join(reversed(self.nodes.values()))
