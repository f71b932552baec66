"""The format torchvision: five classes of one's own, and what a request may not ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from shared.catalog.exports import ExportRequest
from shared.errors import UsageError
from workers.inference.formats.torchvision import FORMAT
from workers.inference.networks.architectures import build


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("five") / "weights.pth"
    network = build("squeezenet1_1", {"num_classes": 5})
    torch.save({"epoch": 3, "model": network.state_dict()}, path)
    return path


def request(weights: Path, **options: Any) -> ExportRequest:
    output = weights.parent / "model.onnx"
    return ExportRequest(weights=weights, output=output, canvas=(64, 64), **options)


def test_a_checkpoint_of_five_classes_needs_no_further_word(weights: Path) -> None:
    exported = FORMAT.export(request(weights, labels=5))
    assert (exported.architecture, exported.classes) == ("squeezenet1_1", 5)
    assert exported.outputs == {"scores": 5}
    assert (weights.parent / "model.onnx").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"labels": 4}, "has 5 classes, and there are 4 labels"),
        ({"labels": 6}, "has 5 classes, and there are 6 labels"),
        ({"channels": "bgr"}, "take RGB"),
        ({"config": Path("other")}, "no second file"),
    ],
)
def test_what_does_not_go_with_the_weights_is_refused(
    weights: Path, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        FORMAT.export(request(weights, architecture="squeezenet1_1", **options))
