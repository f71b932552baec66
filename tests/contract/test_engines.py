"""One suite for every engine that runs torchvision classifiers, on random weights."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torchvision.transforms import functional

from shared.catalog.exports import ExportRequest
from shared.errors import PermanentError
from shared.fields import Channels
from shared.model import Model, Precision
from shared.placement import Size
from shared.views.stretch import Stretch
from workers.inference.engines import Engine, Images, Outputs
from workers.inference.engines.exported import require_exported_for
from workers.inference.engines.onnxruntime_engine import OnnxRuntimeEngine
from workers.inference.engines.openvino_engine import OpenVinoEngine, openvino
from workers.inference.engines.torch_engine import TorchEngine
from workers.inference.export import export

# Width and height, which differ, so that nothing takes one for the other.
CANVAS = WIDTH, HEIGHT = 64, 48
LENGTHS = {"scores": 1000, "features": 1024}
MEAN: Channels = (0.485, 0.456, 0.406)
STD: Channels = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Files:
    """One model, as it lies in the cache."""

    model: Model
    weights: Path
    onnx: Path
    network: torch.nn.Module


def request(weights: Path, onnx: Path, architecture: str = "mobilenet_v3_small") -> ExportRequest:
    return ExportRequest(
        weights=weights,
        sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        output=onnx,
        architecture=architecture,
        mean=MEAN,
        std=STD,
        view=Stretch(width=WIDTH, height=HEIGHT),
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("model")
    network = torchvision.models.get_model("mobilenet_v3_small", weights=None)
    # A fresh network gives the same logits for everything, until its batch norms have seen some.
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        network.train()(torch.stack([normalised(image) for image in random_images(32)]))
    network.eval()
    weights, onnx = folder / "weights.pth", folder / "model.onnx"
    torch.save(network.state_dict(), weights)
    assert export(request(weights, onnx)).outputs == LENGTHS
    model = Model(
        name="small",
        sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        architecture="mobilenet_v3_small",
        mean=MEAN,
        std=STD,
        outputs=("scores", "features"),
    )
    return Files(model, weights, onnx, network)


def make_torch(files: Files, model: Model, canvas: Size = CANVAS) -> Engine:
    return TorchEngine(model, files.weights, "float32")


def make_onnxruntime(files: Files, model: Model, canvas: Size = CANVAS) -> Engine:
    return OnnxRuntimeEngine(model, files.onnx, canvas)


def make_openvino(files: Files, model: Model, canvas: Size = CANVAS) -> Engine:
    return OpenVinoEngine(model, files.onnx, canvas, "float32")


Make = Callable[..., Engine]
ENGINES: dict[str, Make] = {
    "torch": make_torch,
    "onnxruntime": make_onnxruntime,
    "openvino": make_openvino,
}


@pytest.fixture(params=ENGINES.values(), ids=ENGINES)
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


@pytest.fixture
def engine(make: Make, files: Files) -> Iterator[Engine]:
    engine = make(files, files.model)
    yield engine
    engine.close()


def random_images(count: int) -> Images:
    random = np.random.default_rng(count)
    coarse = random.integers(0, 256, (count, 4, 4, 3), np.uint8)
    return coarse.repeat(HEIGHT // 4, axis=1).repeat(WIDTH // 4, axis=2)


def normalised(image: Images) -> torch.Tensor:
    """As torchvision's transforms do it."""
    return functional.normalize(functional.to_tensor(image), [*MEAN], [*STD])


def plainly(files: Files, images: Images) -> np.ndarray:
    """What torchvision itself makes of the images."""
    with torch.inference_mode():
        logits: np.ndarray = files.network(torch.stack([normalised(i) for i in images])).numpy()
        return logits


def arrays(outputs: Outputs) -> tuple[np.ndarray, np.ndarray]:
    """Scores and features."""
    assert isinstance(outputs, tuple)
    scores, features = outputs
    return scores, features


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """The worst difference, as a share of the largest logit."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("count", [1, 2, 7, 33])
def test_logits_are_those_of_plain_torchvision(engine: Engine, files: Files, count: int) -> None:
    images = random_images(count)
    expected, (found, features) = plainly(files, images), arrays(engine.run(images))
    assert (found.dtype, found.shape) == (np.float32, (count, 1000))
    assert (features.dtype, features.shape) == (np.float32, (count, 1024))
    assert distance(last_layer(files, features), expected) < 1e-3
    assert distance(found, expected) < 1e-3
    assert np.array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    assert count < 7 or len(set(found.argmax(axis=1))) > 1


def last_layer(files: Files, features: np.ndarray) -> np.ndarray:
    """What torchvision's last layer makes of features."""
    with torch.inference_mode():
        logits: np.ndarray = files.network.classifier[-1](torch.from_numpy(features)).numpy()  # type: ignore[index,operator]
        return logits


@pytest.mark.parametrize("outputs", [("scores",), ("features",), ("features", "scores")])
def test_an_engine_gives_the_outputs_of_its_model_and_no_others(
    engine: Engine, make: Make, files: Files, outputs: tuple[str, ...]
) -> None:
    images = random_images(9)
    every = dict(zip(files.model.outputs, arrays(engine.run(images)), strict=True))
    narrowed = make(files, files.model.model_copy(update={"outputs": outputs}))
    found = narrowed.run(images)
    narrowed.close()
    assert len(found) == len(outputs)
    for name, array in zip(outputs, found, strict=True):
        assert np.array_equal(array, every[name])


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_scores_are_the_same_to_the_bit_with_and_without_features(
    files: Files, precision: Precision
) -> None:
    alone = files.model.model_copy(update={"outputs": ("scores",)})
    images, capability = random_images(8), {"float32": "FP32", "bfloat16": "BF16"}.get(precision)
    found = [TorchEngine(m, files.weights, precision).run(images)[0] for m in (alone, files.model)]
    assert np.array_equal(*found)
    if capability in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        both = [OpenVinoEngine(m, files.onnx, CANVAS, precision) for m in (alone, files.model)]
        assert np.array_equal(*(engine.run(images)[0] for engine in both))


SPOILT = [
    "torch.set_default_dtype(torch.bfloat16)",
    "torch.set_default_dtype(torch.float64)",
    "torch.set_default_device('meta')",
    "torch.set_grad_enabled(False)",
    "torch.set_default_dtype(torch.float16); torch.set_default_device('meta')",
]


@pytest.mark.parametrize("spoil", SPOILT)
def test_the_defaults_of_the_process_reach_no_engine(spoil: str, files: Files) -> None:
    images, wanted = random_images(3), make_torch(files, files.model).run(random_images(3))
    before = torch.get_default_dtype()
    try:
        exec(spoil, {"torch": torch})
        engine = make_torch(files, files.model)
        assert all(map(np.array_equal, engine.run(images), wanted))
    finally:
        torch.set_default_dtype(before)
        torch.set_default_device(None)
        torch.set_grad_enabled(True)


def test_an_image_is_answered_alike_in_any_batch(engine: Engine) -> None:
    images = random_images(9)
    together = arrays(engine.run(images))
    singly = zip(*(arrays(engine.run(images[n : n + 1])) for n in range(9)), strict=True)
    for found, expected in zip(map(np.concatenate, singly), together, strict=True):
        assert distance(found, expected) < 1e-3


def test_answers_outlive_the_pixels_and_the_next_run(engine: Engine) -> None:
    images = random_images(3)
    first = arrays(engine.run(images))
    copies = [array.copy() for array in first]
    images[:] = 0
    engine.run(images)
    assert all(map(np.array_equal, first, copies))


def test_an_engine_says_what_it_is(engine: Engine) -> None:
    assert engine.name in ENGINES
    assert (engine.precision, engine.device) == ("float32", "cpu")


def require_precision(engine: Engine, files: Files, precision: Precision) -> None:
    images = random_images(4)
    expected, (found, features) = plainly(files, images), arrays(engine.run(images))
    assert found.dtype == features.dtype == np.float32
    assert 1e-5 < distance(last_layer(files, features), expected) < 0.1
    assert engine.precision == precision
    assert 1e-5 < distance(found, expected) < 0.1


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_torch_computes_in_other_precisions(files: Files, precision: Precision) -> None:
    engine = TorchEngine(files.model, files.weights, precision)
    require_precision(engine, files, precision)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_openvino_computes_in_what_the_cpu_has_and_refuses_the_rest(
    files: Files, precision: Precision
) -> None:
    capability = {"bfloat16": "BF16", "float16": "FP16"}[precision]
    if capability in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        engine = OpenVinoEngine(files.model, files.onnx, CANVAS, precision)
        require_precision(engine, files, precision)
    else:
        with pytest.raises(PermanentError, match=f"does not compute in {precision}"):
            OpenVinoEngine(files.model, files.onnx, CANVAS, precision)


FIRST_RUN = """
import sys, time
from pathlib import Path
import numpy as np
from shared.model import Model
from workers.inference.engines import core_pool
from workers.inference.engines.openvino_engine import OpenVinoEngine

class Slow(np.lib.NumpyVersion):
    def __init__(self, text):
        time.sleep(0.5)
        super().__init__(text)

np.lib.NumpyVersion = Slow
core_pool.cores = lambda: 2
model, path = Model.model_validate_json(sys.argv[1]), Path(sys.argv[2])
width, height = int(sys.argv[3]), int(sys.argv[4])
engine = OpenVinoEngine(model, path, (width, height), "float32")
print(engine.run(np.zeros((8, height, width, 3), np.uint8))[0].shape)
"""


def test_groups_of_cores_do_not_meet_in_openvinos_first_run(
    files: Files,
) -> None:
    """Its binding looks at numpy's version under a lock: slowly here, so that others would come."""
    given = [files.model.model_dump_json(), str(files.onnx), str(WIDTH), str(HEIGHT)]
    ran = subprocess.run(
        [sys.executable, "-c", FIRST_RUN, *given], capture_output=True, timeout=60, check=True
    )
    assert ran.stdout == b"(8, 1000)\n"


def test_openvino_reports_to_nobody() -> None:
    ovc = sys.modules["openvino.tools.ovc"]
    assert type(ovc.telemetry).__module__ == "openvino.tools.ovc.telemetry_stub"


@pytest.mark.parametrize(
    ("changes", "canvas", "reason"),
    [
        ({"sha256": "0" * 64}, CANVAS, "was exported from other weights"),
        ({"mean": (0.5, 0.5, 0.5)}, CANVAS, "was exported from other weights"),
        ({"outputs": ("scores", "boxes")}, CANVAS, "has no output 'boxes'"),
        ({}, (WIDTH + 1, HEIGHT), "takes images of 64x48 and the pipeline makes 65x48"),
        ({}, (HEIGHT, WIDTH), "takes images of 64x48 and the pipeline makes 48x64"),
    ],
)
def test_a_graph_that_was_exported_for_something_else_is_refused(
    files: Files, changes: dict[str, object], canvas: Size, reason: str
) -> None:
    model = files.model.model_copy(update=changes)
    with pytest.raises(PermanentError, match=rf"model\.onnx of 'small' {reason}"):
        OnnxRuntimeEngine(model, files.onnx, canvas)
    with pytest.raises(PermanentError, match=rf"model\.onnx of 'small' {reason}"):
        OpenVinoEngine(model, files.onnx, canvas, "float32")


@pytest.mark.parametrize("found", [None, "", "[1]", "{}", "nonsense"])
def test_a_graph_of_unknown_origin_is_refused(files: Files, found: str | None) -> None:
    with pytest.raises(PermanentError, match="was exported from other weights"):
        require_exported_for(files.model, CANVAS, found, [HEIGHT, WIDTH, 3])


def test_export_refuses_weights_of_another_architecture(files: Files, tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    with pytest.raises(PermanentError, match="do not fit torchvision's resnet18"):
        export(request(files.weights, output, "resnet18"))
    with pytest.raises(PermanentError, match="no classifier or detector named 'resnet_of_my_own'"):
        export(request(files.weights, output, "resnet_of_my_own"))
    with pytest.raises(OSError, match="No such file"):
        export(request(tmp_path / "none.pth", output))
    assert list(tmp_path.iterdir()) == []
