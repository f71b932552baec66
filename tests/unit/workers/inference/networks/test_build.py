"""Networks with their weights: which outputs they have, and that weights run no code."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torchvision

from shared.errors import PermanentError
from workers.inference.networks.build import build_network
from workers.inference.networks.classifiers import give_features

ARCHITECTURE = "mobilenet_v3_small"
MEAN, STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Saved:
    """A network with random weights, in memory and as a file."""

    architecture: str
    weights: Path
    network: torch.nn.Module


class Deed:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self._path,)


@pytest.mark.parametrize("saved_by", ["torch", "pickle"])
def test_weights_that_would_run_code_are_refused_and_run_none(
    tmp_path: Path, saved_by: str
) -> None:
    weights, made = tmp_path / "weights.pth", tmp_path / "made"
    if saved_by == "torch":
        torch.save({"features.0.0.weight": Deed(made)}, weights)
    else:
        weights.write_bytes(pickle.dumps(Deed(made), protocol=2))
    with pytest.raises(PermanentError) as caught:
        build_network(ARCHITECTURE, weights, MEAN, STD)
    assert caught.value.code == "bad_weights"
    assert "\n" not in caught.value.message
    assert not made.exists()
    if saved_by == "torch":
        torch.load(weights, weights_only=False)
    else:
        pickle.loads(weights.read_bytes())
    assert made.exists()  # it would have


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"layer": torch.zeros(3)}, tmp_path / "weights.pth")
    with pytest.raises(PermanentError, match=ARCHITECTURE):
        build_network(ARCHITECTURE, tmp_path / "weights.pth", MEAN, STD)


FEATURES = {
    "mobilenet_v3_small": 1024,
    "mnasnet0_5": 1280,
    "shufflenet_v2_x0_5": 1024,
    "squeezenet1_1": None,  # its last layer is a convolution
}


@pytest.fixture(scope="module", params=FEATURES)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    torch.manual_seed(3)
    network = torchvision.models.get_model(request.param, weights=None).eval()
    weights = tmp_path_factory.mktemp("network") / "weights.pth"
    torch.save(network.state_dict(), weights)
    return Saved(request.param, weights, network)


def test_a_network_gives_what_is_asked_of_it(saved: Saved) -> None:
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    length = FEATURES[saved.architecture]
    has = ("scores",) if length is None else ("scores", "features")
    every = build_network(saved.architecture, saved.weights, MEAN, STD, outputs=None)
    assert every.outputs == has
    with torch.inference_mode():
        plain = saved.network(images.permute(0, 3, 1, 2) / 255)
        given = dict(zip(has, every(images), strict=True))
        (alone,) = build_network(saved.architecture, saved.weights, MEAN, STD)(images)
        assert torch.allclose(alone, plain, atol=1e-4)
        assert torch.equal(given["scores"], alone)
        if length is None:
            return
        assert given["features"].shape == (2, length)
        (last,) = [m for m in every.modules() if type(m).__name__ == "_WithInput"]
        assert torch.equal(last.layer(given["features"]), given["scores"])
        turned = build_network(saved.architecture, saved.weights, MEAN, STD, has[::-1])
        assert all(map(torch.equal, turned(images)[::-1], given.values()))


def test_an_output_that_a_network_does_not_have_is_refused(saved: Saved) -> None:
    wanted = ("scores", "features" if FEATURES[saved.architecture] is None else "boxes")
    with pytest.raises(PermanentError, match=f"{saved.architecture} has no output '{wanted[1]}'"):
        build_network(saved.architecture, saved.weights, MEAN, STD, wanted)


class Scaled(torch.nn.Module):
    """Does something with what its last linear layer gives."""

    def __init__(self) -> None:
        super().__init__()
        self.last = torch.nn.Linear(3, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.softmax(self.last(images.mean((2, 3))), dim=1)


class Unused(Scaled):
    """Does not use it."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))


class ByPixel(Scaled):
    """Uses it for each pixel, so that no image has features of its own."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(images.permute(0, 2, 3, 1))


@pytest.mark.parametrize("kind", [Scaled, Unused, ByPixel])
def test_a_network_that_does_not_end_with_a_linear_layer_stays_as_it_is(
    kind: type[torch.nn.Module],
) -> None:
    network = kind().eval()
    assert not give_features(network)
    assert isinstance(network.last, torch.nn.Linear)
