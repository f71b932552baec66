"""What exporters bake in of their one image: shapes, sizes, and what is joined to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tests.support.graphs import HEIGHT, WIDTH, model
from workers.inference.graphs.batch import free_batch

IMAGE = [1, 3, HEIGHT, WIDTH]


def made(nodes: list[onnx.NodeProto], constants: dict[str, Any]) -> onnx.ModelProto:
    return model(nodes, [("y", TensorProto.FLOAT, None)], constants, IMAGE)


def reshaped(*shape: int, **attributes: int) -> onnx.ModelProto:
    node = helper.make_node("Reshape", ["x", "s"], ["y"], **attributes)
    return made([node], {"s": np.array(shape)})


def resized() -> onnx.ModelProto:
    node = helper.make_node("Resize", ["x", "", "", "s"], ["y"], mode="nearest")
    return made([node], {"s": np.array([1, 3, 2 * HEIGHT, 2 * WIDTH])})


def joined(nodes: list[onnx.NodeProto], token: np.ndarray) -> onnx.ModelProto:
    """A vision transformer's class token before its patches."""
    concat = helper.make_node("Concat", ["token", "flat"], ["y"], axis=1)
    flat = helper.make_node("Reshape", ["x", "s"], ["flat"])
    name = "token" if not nodes else "one"
    return made([*nodes, flat, concat], {name: token, "s": np.array([1, -1, 3])})


TOKEN = np.ones((1, 1, 3), np.float32)
BAKED: dict[str, Callable[[], onnx.ModelProto]] = {
    "all sides": lambda: reshaped(1, 3, HEIGHT * WIDTH),
    "an open side": lambda: reshaped(1, -1),
    "as torch writes it": lambda: reshaped(1, -1, allowzero=1),
    "five sides": lambda: reshaped(1, 3, 2, HEIGHT // 2, WIDTH),
    "sizes": resized,
    "a token": lambda: joined([], TOKEN),
    "a token of nodes": lambda: joined([helper.make_node("Neg", ["one"], ["token"])], TOKEN),
}


@pytest.mark.parametrize("make", BAKED.values(), ids=BAKED)
def test_a_baked_graph_takes_several_images(make: Callable[[], onnx.ModelProto]) -> None:
    images = np.random.default_rng(0).random((3, *IMAGE[1:]), np.float32)
    plain = onnxruntime.InferenceSession(make().SerializeToString())
    expected = [plain.run(None, {"x": images[n : n + 1]})[0] for n in range(3)]
    freed = make()
    free_batch(freed.graph, "x")
    freed.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    found = onnxruntime.InferenceSession(freed.SerializeToString()).run(None, {"x": images})[0]
    assert np.array_equal(found, np.concatenate(expected))


def test_shapes_of_other_arrays_stay() -> None:
    """A grid that is not made of the image is the same for all images."""
    nodes = [
        helper.make_node("Reshape", ["grid", "s"], ["offsets"]),
        helper.make_node("Add", ["x", "offsets"], ["y"]),
    ]
    grid, sides = np.ones(HEIGHT * WIDTH, np.float32), np.array([1, 1, HEIGHT, WIDTH])
    own = made(nodes, {"grid": grid, "s": sides})
    before = own.SerializeToString()
    free_batch(own.graph, "x")
    assert own.SerializeToString() == before
