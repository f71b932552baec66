"""Weights are data: a file that would run code when it is unpickled runs none."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from shared.errors import PermanentError
from workers.inference.network import build_network

ARCHITECTURE = "mobilenet_v3_small"
MEAN, STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


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
