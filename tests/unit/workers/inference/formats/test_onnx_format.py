"""A user's own ONNX graph becomes one of ours, or is refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from shared.catalog.exports import ExportedModel, ExportRequest
from shared.errors import HeadraceError
from tests.support.graphs import CLASSES, FEATURES, HEIGHT, WIDTH, classifier, model, save, trunk
from workers.inference.export import export
from workers.inference.formats import format_of

CANVAS = (WIDTH, HEIGHT)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def images(count: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, height, width, 3), np.uint8)


def exported(own: onnx.ModelProto, folder: Path, **asked: Any) -> ExportedModel:
    given = {"weights": save(own, folder), "sha256": "a" * 64, "output": folder / "model.onnx"}
    return export(ExportRequest(**given | asked))


def ours(folder: Path, pixels: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": pixels}), strict=True))


def theirs(folder: Path, given: np.ndarray, output: str = "y") -> np.ndarray:
    found = onnxruntime.InferenceSession(folder / "own.onnx").run([output], {"x": given})
    return np.asarray(found[0])


def scaled(pixels: np.ndarray) -> np.ndarray:
    return (pixels / np.float32(255) - np.float32(MEAN)) / np.float32(STD)


def batch_of(folder: Path) -> int | str:
    return onnxruntime.InferenceSession(folder / "model.onnx").get_inputs()[0].shape[0]


@pytest.mark.parametrize("first", ["b", 1])
@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_a_classifier_answers_as_its_graph(
    first: int | str, channels_first: bool, dtype: int, tmp_path: Path
) -> None:
    sides = [3, HEIGHT, WIDTH] if channels_first else [HEIGHT, WIDTH, 3]
    shape = [1, FEATURES] if first == 1 else None
    found = exported(classifier([first, *sides], dtype, shape), tmp_path)
    assert found.outputs == {"scores": CLASSES, "features": CLASSES}
    assert (found.format, found.layout, found.classes) == ("onnx", None, CLASSES)
    assert found.view.canvas == CANVAS
    assert (found.mean, found.std, found.channels) == (MEAN, STD, "rgb")
    pixels = images(3)
    given = scaled(pixels).transpose(0, 3, 1, 2) if channels_first else scaled(pixels)
    given = given.astype(np.float16 if dtype == TensorProto.FLOAT16 else np.float32)
    expected = np.concatenate([theirs(tmp_path, given[n : n + 1]) for n in range(3)])
    answers = ours(tmp_path, pixels)
    assert answers["scores"].dtype == np.float32
    assert np.allclose(answers["scores"], expected, rtol=1e-2, atol=1e-2)
    assert batch_of(tmp_path) == "batch"


def test_pixels_are_given_as_asked(tmp_path: Path) -> None:
    asked = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "channels": "bgr"}
    found = exported(classifier(), tmp_path, **asked)
    assert (found.mean, found.std, found.channels) == tuple(asked.values())
    pixels = images(2)
    normal = (pixels / np.float32(255) - np.float32(asked["mean"])) / np.float32(asked["std"])
    expected = theirs(tmp_path, np.ascontiguousarray(normal[..., ::-1].transpose(0, 3, 1, 2)))
    assert np.allclose(ours(tmp_path, pixels)["scores"], expected, atol=1e-4)


def test_a_graph_of_whole_pixels_gets_them_as_they_are(tmp_path: Path) -> None:
    own = classifier([1, HEIGHT, WIDTH, 3], TensorProto.UINT8, [1, FEATURES])
    own.graph.input[0].type.tensor_type.shape.dim[1].dim_value = HEIGHT
    found = exported(own, tmp_path)
    assert (found.mean, found.std) == ((0, 0, 0), (1 / 255,) * 3)
    pixels = images(2)
    expected = np.concatenate([theirs(tmp_path, pixels[n : n + 1]) for n in range(2)])
    assert np.allclose(ours(tmp_path, pixels)["scores"], expected, rtol=1e-4)
    with pytest.raises(HeadraceError, match="from 0 to 255 as they are"):
        exported(own, tmp_path, mean=MEAN)


def test_open_sides_are_those_that_are_asked_for(tmp_path: Path) -> None:
    own = classifier(["b", 3, "h", "w"])
    assert exported(own, tmp_path).view.canvas == (224, 224)
    assert exported(own, tmp_path, canvas=(40, 24)).view.canvas == (40, 24)
    assert ours(tmp_path, images(1, 40, 24))["scores"].shape == (1, CLASSES)
    with pytest.raises(HeadraceError, match="takes images of 12x8, and 40x24 are asked for"):
        exported(classifier(), tmp_path, canvas=(40, 24))


def test_a_last_softmax_is_left_out(tmp_path: Path) -> None:
    found = exported(classifier(softmax=True), tmp_path)
    assert any("softmax" in assumed for assumed in found.assumed)
    plain = tmp_path / "plain"
    plain.mkdir()
    exported(classifier(), plain)
    pixels = images(3)
    assert np.array_equal(ours(tmp_path, pixels)["scores"], ours(plain, pixels)["scores"])


def test_a_second_row_of_numbers_is_the_features(tmp_path: Path) -> None:
    lengths = {"scores": CLASSES, "features": FEATURES}
    assert exported(classifier(features=True), tmp_path).outputs == lengths
    assert exported(classifier(features=True), tmp_path, labels=FEATURES).outputs == {
        "scores": FEATURES,
        "features": CLASSES,
    }


def test_scores_may_have_sides_of_one_pixel(tmp_path: Path) -> None:
    nodes, constants = trunk()
    own = model(nodes, [("pooled", TensorProto.FLOAT, None)], constants)
    assert exported(own, tmp_path).outputs == {"scores": FEATURES, "features": FEATURES}
    assert ours(tmp_path, images(2))["scores"].shape == (2, FEATURES)


def test_labels_are_as_many_as_classes(tmp_path: Path) -> None:
    assert exported(classifier(), tmp_path, labels=CLASSES).classes == CLASSES
    with pytest.raises(HeadraceError, match="tells 5 classes apart, and there are 4 labels"):
        exported(classifier(), tmp_path, labels=4)
    named = classifier()
    helper.set_model_props(named, {"task": "classify", "names": "{0: 'cat', 1: 'dog'}"})
    with pytest.raises(HeadraceError, match="there are 2 labels"):
        exported(named, tmp_path)


def test_metadata_name_classes_and_pixels(tmp_path: Path) -> None:
    own = classifier(["b", 3, "h", "w"])
    names = "{0: 'a', 1: 'b', 2: 'Ж', 3: \"d'e\", 4: 'f'}"
    helper.set_model_props(own, {"task": "classify", "names": names, "imgsz": "[32, 64]"})
    found = exported(own, tmp_path)
    assert found.labels == ("a", "b", "Ж", "d'e", "f")
    assert found.view.canvas == (64, 32)
    assert (found.mean, found.std) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_other_tasks_are_refused(task: str, tmp_path: Path) -> None:
    own = classifier()
    helper.set_model_props(own, {"task": task})
    with pytest.raises(HeadraceError, match=f"task is '{task}'"):
        exported(own, tmp_path)


def test_an_image_of_its_own_at_a_time_where_a_batch_would_differ(tmp_path: Path) -> None:
    """The mean over the batch makes an image's numbers depend on its neighbours."""
    nodes, constants = trunk()
    nodes += [
        helper.make_node("ReduceMean", ["pooled"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["pooled", "half"], ["less"]),
        helper.make_node("Add", ["less", "mean"], ["mixed"]),
        helper.make_node("Flatten", ["mixed"], ["y"]),
    ]
    constants["half"] = np.float32(0.5)
    own = model(nodes, [("y", TensorProto.FLOAT, ["b", FEATURES])], constants)
    found = exported(own, tmp_path)
    assert batch_of(tmp_path) == 1
    assert any("one image at a time" in assumed for assumed in found.assumed)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    nodes, constants = trunk()
    nodes += [
        helper.make_node("Div", ["pooled", "zero"], ["much"]),
        helper.make_node("Flatten", ["much"], ["y"]),
    ]
    constants["zero"] = np.float32(0)
    own = model(nodes, [("y", TensorProto.FLOAT, ["b", FEATURES])], constants)
    with pytest.raises(HeadraceError, match="not finite"):
        exported(own, tmp_path)
    assert not (tmp_path / "model.onnx").exists()


def test_a_graph_that_is_nothing_known_is_refused(tmp_path: Path) -> None:
    nodes, constants = trunk()
    own = model(nodes, [("scores", TensorProto.FLOAT, None)], constants)
    with pytest.raises(HeadraceError, match=r"of shapes \(6, 6, 10\), are not those of a class"):
        exported(own, tmp_path)


def test_a_file_is_known_by_its_first_bytes_and_its_name(tmp_path: Path) -> None:
    is_format_of = format_of("onnx").is_format_of
    assert is_format_of(save(classifier(), tmp_path, "weights"))
    assert is_format_of(save(classifier(), tmp_path, "own.ONNX"))
    safetensors = (b"\x08\x02" + bytes(6) + b'{"a":', b"\x08\x0f\x01" + bytes(5) + b'{"b":')
    for content in (b"", b"PK\x03\x04", b"\x08", b"\x80\x02}q", *safetensors):
        (tmp_path / "other").write_bytes(content)
        assert not is_format_of(tmp_path / "other")


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("free", [True, False])
def test_what_torch_exports_runs_in_batches(dynamo: bool, free: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), Reshaped()
    ).eval()
    given = torch.rand((2 if free else 1, 3, HEIGHT, WIDTH))
    path, more = tmp_path / "own.onnx", {}
    if free and dynamo:
        more["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
    elif free:
        more["dynamic_axes"] = {"x": {0: "batch"}}
    program = torch.onnx.export(
        *(network, (given,), None if dynamo else path),
        **{"input_names": ["x"], "output_names": ["y"], "dynamo": dynamo, "verbose": False},
        **more,
    )
    if program is not None:
        program.save(path, external_data=False)
    request = ExportRequest(weights=path, sha256="a" * 64, output=tmp_path / "model.onnx")
    assert export(request).classes == CLASSES
    pixels = images(3)
    normal = torch.from_numpy(scaled(pixels)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = network(normal).numpy()
    assert np.allclose(ours(tmp_path, pixels)["scores"], expected, atol=1e-4)
    assert batch_of(tmp_path) == "batch"


class Reshaped(torch.nn.Module):
    """Has the number of images in a shape, as detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, CLASSES)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.linear(features.view(features.shape[0], 2, 4)).mean(dim=1)
