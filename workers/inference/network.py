"""A torchvision classifier with its weights and its normalisation, as one torch module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torchvision

from shared.errors import PermanentError
from shared.fields import Channels
from workers.inference.errors import one_line


class Normalised(torch.nn.Module):
    """Takes uint8 RGB images of shape (images, height, width, 3), gives logits (images, classes).

    The pixels are scaled and shifted in float32, then cast to what the network computes in.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, network: torch.nn.Module, mean: Channels, std: Channels) -> None:
        super().__init__()
        self.network = network
        deviation = _by_channel(std)
        self.register_buffer("scale", 1 / (255 * deviation))
        self.register_buffer("shift", -_by_channel(mean) / deviation)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of uint8 images; a permuted NHWC tensor is channels_last as it is."""
        pixels = images.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.shift
        logits: torch.Tensor = self.network(pixels.to(next(self.network.parameters()).dtype))
        return logits


def _by_channel(values: Channels) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device="cpu").view(1, 3, 1, 1)


@contextmanager
def _float32_on_cpu() -> Iterator[None]:
    """Layers are made in the process's default type and on its default device: make these ours."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(before)


def build_network(architecture: str, weights: Path, mean: Channels, std: Channels) -> Normalised:
    """The architecture with the weights of a ``.pth`` state dict, in evaluation mode, on the CPU.

    Raises PermanentError where torchvision has no such classifier or the weights are not its own,
    and OSError where they cannot be read.
    """
    if architecture not in torchvision.models.list_models(module=torchvision.models):
        raise PermanentError(
            "unknown_architecture",
            f"torchvision has no classifier named '{architecture}'.",
            "Name one of torchvision.models.list_models(module=torchvision.models).",
        )
    with _float32_on_cpu():
        network = torchvision.models.get_model(architecture, weights=None)
    try:
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except OSError:
        raise
    except Exception as error:
        raise PermanentError(
            "bad_weights",
            f"The weights do not fit torchvision's {architecture}: {one_line(error)}",
            "Use a state dict of that architecture, saved by torch.save.",
        ) from error
    return Normalised(network, mean, std).eval()
