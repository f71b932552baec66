"""Small ONNX graphs, as users bring them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Side = int | str
WIDTH, HEIGHT, CLASSES = 12, 8, 5
FEATURES = 6
_NUMPY: dict[int, Any] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.UINT8: np.float32,
}


def save(model: onnx.ModelProto, folder: Path, name: str = "own.onnx") -> Path:
    """The model's file in that folder."""
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def model(
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[tuple[str, int, Sequence[Side] | None]],
    constants: dict[str, Any] | None = None,
    image: Sequence[Side] = ("b", 3, HEIGHT, WIDTH),
    dtype: int = TensorProto.FLOAT,
    opset: int = 17,
    **more: Any,
) -> onnx.ModelProto:
    """One whose input ``x`` has the shape ``image``."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, image)],
        [helper.make_tensor_value_info(*output) for output in outputs],
        [
            numpy_helper.from_array(np.asarray(value), key)
            for key, value in (constants or {}).items()
        ],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, **more)


def trunk(
    channels_first: bool = True, dtype: int = TensorProto.FLOAT
) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    """From the input ``x`` to ``pooled``, (batch, FEATURES, 1, 1)."""
    random, kind, nodes, last = np.random.default_rng(3), _NUMPY[dtype], [], "x"
    if dtype == TensorProto.UINT8:
        nodes.append(helper.make_node("Cast", ["x"], ["cast"], to=TensorProto.FLOAT))
        last = "cast"
    if not channels_first:
        nodes.append(helper.make_node("Transpose", [last], ["turned"], perm=[0, 3, 1, 2]))
        last = "turned"
    nodes += [
        helper.make_node("Conv", [last, "kernel"], ["images"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["images"], ["scores"]),  # names that are ours, too
        helper.make_node("GlobalAveragePool", ["scores"], ["pooled"]),
    ]
    constants = {"kernel": random.normal(size=(FEATURES, 3, 3, 3)).astype(kind)}
    return nodes, constants


def classifier(
    image: Sequence[Side] = ("b", 3, HEIGHT, WIDTH),
    dtype: int = TensorProto.FLOAT,
    shape: Sequence[int] | None = None,
    softmax: bool = False,
    features: bool = False,
) -> onnx.ModelProto:
    """One of ``CLASSES`` classes. ``shape``: what its features are reshaped to, else flattened."""
    nodes, constants = trunk(image[1] == 3, dtype)
    kind = _NUMPY[dtype]
    random = np.random.default_rng(4)
    if shape is None:
        nodes.append(helper.make_node("Flatten", ["pooled"], ["row"]))
    else:
        constants["shape"] = np.array(shape)
        nodes.append(helper.make_node("Reshape", ["pooled", "shape"], ["row"]))
    constants["matrix"] = random.normal(size=(FEATURES, CLASSES)).astype(kind)
    nodes.append(helper.make_node("MatMul", ["row", "matrix"], ["y" if not softmax else "logits"]))
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["y"], axis=-1))
    number = TensorProto.FLOAT16 if dtype == TensorProto.FLOAT16 else TensorProto.FLOAT
    outputs = [("y", number, [image[0], CLASSES])]
    if features:
        outputs.append(("row", number, [image[0], FEATURES]))
    return model(nodes, outputs, constants, image, dtype)


def detector(count: int = 7, sides: int = 9) -> onnx.ModelProto:
    """One array (batch, count, sides), its batch of one image written into its shape."""
    nodes, constants = trunk()
    random = np.random.default_rng(5)
    constants["matrix"] = random.normal(size=(FEATURES, count * sides)).astype(np.float32)
    constants["rows"] = np.array([1, count, sides])
    nodes += [
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["all"]),
        helper.make_node("Reshape", ["all", "rows"], ["y"]),
    ]
    shape = [1, count, sides]
    return model(nodes, [("y", TensorProto.FLOAT, shape)], constants, [1, 3, HEIGHT, WIDTH])


def scoring_detector(background: int | None, count: int = 30) -> onnx.ModelProto:
    """Boxes in pixels (batch, count, 4), and scores (batch, count, CLASSES) beside them.

    ``background``: the number of the class that most places have, in a softmax; None: a sigmoid.
    """
    nodes, constants = trunk()
    random = np.random.default_rng(6)
    for name, sides in (("corners", 4), ("scored", CLASSES)):
        matrix = random.normal(size=(FEATURES, count * sides)).astype(np.float32)
        constants |= {f"{name}_m": matrix / 100, f"{name}_s": np.array([-1, count, sides])}
        nodes += [
            helper.make_node("MatMul", ["flat", f"{name}_m"], [f"{name}_f"]),
            helper.make_node("Reshape", [f"{name}_f", f"{name}_s"], [name]),
            helper.make_node("Add", [name, f"{name}_b"], [f"{name}_r"]),
        ]
    corner = random.uniform(0, [WIDTH, HEIGHT], (count, 2))
    constants["corners_b"] = np.concatenate([corner, corner + 2], axis=1).astype(np.float32)
    constants["scored_b"] = np.zeros(CLASSES, np.float32)
    nodes.insert(3, helper.make_node("Flatten", ["pooled"], ["flat"]))
    if background is None:
        nodes.append(helper.make_node("Sigmoid", ["scored_r"], ["sure"]))
    else:
        constants["scored_b"][background] = 5
        nodes.append(helper.make_node("Softmax", ["scored_r"], ["sure"], axis=2))
    outputs = [
        ("corners_r", TensorProto.FLOAT, ["b", count, 4]),
        ("sure", TensorProto.FLOAT, ["b", count, CLASSES]),
    ]
    return model(nodes, outputs, constants)


def choosing_detector(
    label: int | None = None, *, labels_last: bool = False, opset: int = 17
) -> onnx.ModelProto:
    """One that chooses itself: boxes, whole labels and scores, as many as an image has.

    Their number is that of the positive means of its features. ``label``: of all of them.
    """
    nodes, constants = trunk()
    constants |= {"half": np.float32(0.4), "four": np.array([1, 4])}
    constants |= {"row": np.array([-1]), "column": np.array([-1, 1])}
    constants |= {"kept": np.float32(label is None), "label": np.float32(label or 0)}
    nodes += [
        helper.make_node("Reshape", ["pooled", "row"], ["means"]),
        helper.make_node("Greater", ["means", "half"], ["is_box"]),
        helper.make_node("Compress", ["means", "is_box"], ["found"], axis=0),
        helper.make_node("Reshape", ["found", "column"], ["narrow"]),
        helper.make_node("Tile", ["narrow", "four"], ["corners"]),
        helper.make_node("Mul", ["found", "kept"], ["part"]),
        helper.make_node("Add", ["part", "label"], ["number"]),
        helper.make_node("Cast", ["number"], ["labels"], to=TensorProto.INT64),
        helper.make_node("Sigmoid", ["found"], ["sure"]),
    ]
    outputs = [
        ("corners", TensorProto.FLOAT, ["n", 4]),
        ("labels", TensorProto.INT64, ["n"]),
        ("sure", TensorProto.FLOAT, ["n"]),
    ]
    if labels_last:
        outputs.append(outputs.pop(1))
    return model(nodes, outputs, constants, [1, 3, HEIGHT, WIDTH], opset=opset)
