"""One suite for every engine that runs graphs which torch does not have."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from shared.catalog.exports import ExportRequest
from shared.errors import PermanentError
from shared.model import Model
from tests.support.graphs import FEATURES, HEIGHT, WIDTH, classifier, model, save, trunk
from workers.inference.engines import Engine, Images
from workers.inference.engines.exported import provenance
from workers.inference.engines.onnxruntime_engine import OnnxRuntimeEngine
from workers.inference.engines.openvino_engine import OpenVinoEngine
from workers.inference.export import export

CANVAS = (WIDTH, HEIGHT)
Make = Callable[[Model, Path], Engine]


def onnxruntimes(model: Model, path: Path) -> Engine:
    return OnnxRuntimeEngine(model, path, CANVAS)


def openvinos(model: Model, path: Path) -> Engine:
    return OpenVinoEngine(model, path, CANVAS, "float32")


@pytest.fixture(params=[onnxruntimes, openvinos])
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


def for_one_image() -> onnx.ModelProto:
    """A graph that mixes images of a batch, so that it takes one at a time."""
    nodes, constants = trunk()
    nodes += [
        helper.make_node("ReduceMax", ["pooled"], ["most"], axes=[0], keepdims=1),
        helper.make_node("Add", ["pooled", "most"], ["mixed"]),
        helper.make_node("Flatten", ["mixed"], ["y"]),
    ]
    return model(nodes, [("y", TensorProto.FLOAT, ["b", FEATURES])], constants)


GRAPHS = {
    "nchw": lambda: classifier(),
    "nhwc": lambda: classifier(["b", HEIGHT, WIDTH, 3]),
    "float16": lambda: classifier(dtype=TensorProto.FLOAT16),
    "features": lambda: classifier(features=True),
    "one image": for_one_image,
    "baked": lambda: classifier([1, 3, HEIGHT, WIDTH], shape=[1, FEATURES]),
}


@pytest.fixture(params=GRAPHS.values(), ids=GRAPHS)
def found(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Model, Path]:
    weights, output = save(request.param(), tmp_path), tmp_path / "model.onnx"
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    exported = export(ExportRequest(weights=weights, sha256=sha256, output=output))
    own = Model(
        name="own",
        sha256=sha256,
        layout=exported.layout,
        outputs=tuple(exported.outputs),
        mean=exported.mean,
        std=exported.std,
    )
    return own, output


@pytest.fixture
def engine(make: Make, found: tuple[Model, Path]) -> Iterator[Engine]:
    engine = make(*found)
    yield engine
    engine.close()


def images(count: int) -> Images:
    return np.random.default_rng(count).integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)


@pytest.mark.parametrize("count", [1, 3, 9])
def test_a_batch_is_answered_as_its_images_alone(
    engine: Engine, found: tuple[Model, Path], count: int
) -> None:
    own, path = found
    plain = onnxruntime.InferenceSession(path)
    pixels = images(count)
    given = engine.run(pixels)
    singles = [plain.run(list(own.outputs), {"images": pixels[n : n + 1]}) for n in range(count)]
    assert len(given) == len(own.outputs)
    for array, expected in zip(given, zip(*singles, strict=True), strict=True):
        assert array.dtype == np.float32
        assert np.allclose(array, np.concatenate(expected), rtol=1e-2, atol=1e-2)


def test_an_engine_gives_the_outputs_that_are_asked_for(
    make: Make, found: tuple[Model, Path]
) -> None:
    own, path = found
    for names in (("scores",), ("features",), ("features", "scores")):
        engine = make(own.model_copy(update={"outputs": names}), path)
        assert len(engine.run(images(2))) == len(names)
        engine.close()


def test_a_graph_that_openvino_does_not_know_is_refused_in_our_words(tmp_path: Path) -> None:
    """So another engine is taken."""
    node = helper.make_node("NoSuch", ["x"], ["scores"], domain="unknown")
    own = model([node], [("scores", TensorProto.FLOAT, ["b", 1])])
    own.opset_import.append(helper.make_opsetid("unknown", 1))
    helper.set_model_props(
        own, {"headrace": provenance("a" * 64, (0, 0, 0), (1, 1, 1), ["scores"])}
    )
    named = Model(name="own", sha256="a" * 64, outputs=("scores",))
    with pytest.raises(PermanentError, match="'own' cannot be loaded"):
        openvinos(named, save(own, tmp_path))


def test_a_graph_of_other_weights_is_to_be_added_again(
    make: Make, found: tuple[Model, Path]
) -> None:
    own, path = found
    other = own.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(PermanentError) as caught:
        make(other, path)
    assert "models add own FILE" in str(caught.value)
