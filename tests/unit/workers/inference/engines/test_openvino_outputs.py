"""OpenVINO gives the same scores to the bit, whatever else it is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from shared.model import Model, Precision
from workers.inference.engines.exported import METADATA_KEY, provenance
from workers.inference.engines.openvino_engine import OpenVinoEngine, openvino

CANVAS = (32, 32)
MODEL = Model(name="tiny", sha256="a" * 64, architecture="none")
NAMES = ("scores", "features")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution, the mean of each channel, which are features, and a linear layer."""
    random = np.random.default_rng(0)
    sizes = {"kernel": (64, 3, 3, 3), "matrix": (64, 100)}
    weights = [
        numpy_helper.from_array(random.normal(size=size).astype(np.float32), name)
        for name, size in sizes.items()
    ]
    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["numbers"], ["pixels"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["pixels", "kernel"], ["maps"]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["means"]),
        helper.make_node("Flatten", ["means"], ["features"]),
        helper.make_node("MatMul", ["features", "matrix"], ["scores"]),
    ]
    shape = ["batch", CANVAS[1], CANVAS[0], 3]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, shape)
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", length])
        for name, length in zip(NAMES, (100, 64), strict=True)
    ]
    made = helper.make_model(
        helper.make_graph(nodes, "g", [images], outputs, weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    baked = provenance(MODEL.sha256, MODEL.mean, MODEL.std, NAMES)
    made.metadata_props.add(key=METADATA_KEY, value=baked)
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    onnx.save(made, path)
    return path


def given(graph: Path, outputs: tuple[str, ...], precision: Precision) -> dict[str, np.ndarray]:
    engine = OpenVinoEngine(MODEL.model_copy(update={"outputs": outputs}), graph, CANVAS, precision)
    shape = (6, CANVAS[1], CANVAS[0], 3)
    found = engine.run(np.random.default_rng(1).integers(0, 256, shape, np.uint8))
    engine.close()
    return dict(zip(outputs, found, strict=True))


def here(precision: str) -> bool:
    return precision in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.parametrize("outputs", [NAMES, NAMES[::-1]], ids="+".join)
def test_scores_do_not_depend_on_what_else_is_given(graph: Path, outputs: tuple[str, ...]) -> None:
    exact = given(graph, outputs, "float32")
    precisions: list[tuple[str, Precision]] = [
        ("FP32", "float32"),
        ("BF16", "bfloat16"),
        ("FP16", "float16"),
    ]
    for precision in [name for capability, name in precisions if here(capability)]:
        both, alone = given(graph, outputs, precision), given(graph, ("scores",), precision)
        assert np.array_equal(both["scores"], alone["scores"]), precision
        for name in NAMES:
            assert both[name].dtype == np.float32
            error = np.abs(both[name] - exact[name]).max() / np.abs(exact[name]).max()
            assert error < 0.05, (precision, name)
