"""The format torchvision: five classes of one's own, and what a request may not ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from shared.catalog.exports import ExportRequest
from shared.errors import PermanentError, UsageError
from workers.inference.export import export
from workers.inference.formats import torchvision
from workers.inference.networks.architectures import build


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("five") / "weights.pth"
    network = build("squeezenet1_1", {"num_classes": 5})
    torch.save({"epoch": 3, "model": network.state_dict()}, path)
    return path


def request(weights: Path, **options: Any) -> ExportRequest:
    output = weights.parent / "model.onnx"
    sha256 = "a" * 64
    return ExportRequest(weights=weights, sha256=sha256, output=output, canvas=(64, 64), **options)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are not written, which takes seconds."""

    def write(_module: object, _baked: str, _canvas: object, output: Path) -> None:
        output.write_bytes(b"graph")

    monkeypatch.setattr(torchvision, "write_graph", write)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {},
            [
                "By its weights it is torchvision's squeezenet1_1.",
                "It takes RGB with mean 0.485, 0.4",
            ],
        ),
        (
            {"architecture": "squeezenet1_1", "std": (0.5, 0.5, 0.5)},
            ["It takes RGB with mean 0.485"],
        ),
        ({"architecture": "squeezenet1_1", "mean": (0, 0, 0), "std": (1, 1, 1)}, []),
    ],
)
def test_what_is_taken_as_usual_is_said(
    weights: Path, options: dict[str, Any], expected: list[str]
) -> None:
    assumed = export(request(weights, **options)).assumed
    (weights.parent / "model.onnx").unlink()
    assert len(assumed) == len(expected)
    assert all(map(str.startswith, assumed, expected))


def test_a_checkpoint_of_five_classes_needs_no_further_word(weights: Path) -> None:
    exported = export(request(weights, labels=5))
    assert (exported.architecture, exported.classes) == ("squeezenet1_1", 5)
    assert exported.outputs == {"scores": 5}
    (weights.parent / "model.onnx").unlink()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"labels": 4}, "tells 5 classes apart, and there are 4 labels"),
        ({"labels": 6}, "tells 5 classes apart, and there are 6 labels"),
        ({"channels": "bgr"}, "in the format torchvision, which does not use channels"),
        ({"config": Path("other")}, "in the format torchvision, which does not use config"),
        ({"layout": "yolox"}, "in the format torchvision, which does not use layout"),
    ],
)
def test_what_does_not_go_with_the_weights_is_refused(
    weights: Path, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        export(request(weights, architecture="squeezenet1_1", **options))
    assert not (weights.parent / "model.onnx").exists()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("size", "kind"), [((64, 64), "crop"), ((96, 64), "stretch"), ((64, 96), "stretch")]
)
def test_a_classifier_takes_images_of_the_size_that_is_asked_for(
    weights: Path, size: tuple[int, int], kind: str
) -> None:
    view = export(request(weights).model_copy(update={"canvas": size})).view
    (weights.parent / "model.onnx").unlink()
    assert (view.kind, view.canvas) == (kind, size)


@pytest.mark.parametrize(
    "error", [RuntimeError("unsupported"), PermanentError("export_differs", "It differs.")]
)
def test_a_network_without_a_graph_is_left_to_torch(
    weights: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(
        "workers.inference.formats.torchvision.write_graph", Mock(side_effect=error)
    )
    exported = export(request(weights))
    assert not exported.has_graph
    assert "Only torch runs it" in exported.assumed[0]
    assert "unsupported" not in exported.assumed[0]


@pytest.mark.parametrize("error", [MemoryError(), OSError(28, "No space left on device")])
def test_a_machine_that_is_too_small_is_not_the_networks_fault(
    weights: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(
        "workers.inference.formats.torchvision.write_graph", Mock(side_effect=error)
    )
    with pytest.raises(type(error)):
        export(request(weights))
