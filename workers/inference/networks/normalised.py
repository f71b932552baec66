"""A network that takes images as they come from the decoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from shared.fields import Channels
from shared.placement import Size


class Normalised(torch.nn.Module):
    """Takes uint8 RGB images of shape (images, height, width, 3), gives a tuple of arrays.

    They are those of ``outputs``, in that order, each with one entry for each image.
    The pixels are scaled and shifted in float32, then cast to what ``network`` computes in: an
    engine may have that part in a lower precision, and the rest stays as it is.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(
        self, network: torch.nn.Module, mean: Channels, std: Channels, outputs: Sequence[str]
    ) -> None:
        super().__init__()
        self.network = network
        self.outputs = tuple(outputs)
        deviation = _by_channel(std)
        self.register_buffer("scale", 1 / (255 * deviation))
        self.register_buffer("shift", -_by_channel(mean) / deviation)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The outputs for uint8 images; a permuted NHWC tensor is channels_last as it is."""
        pixels = images.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.shift
        given = self.network(pixels.to(next(self.network.parameters()).dtype))
        height, width = images.shape[1:3]
        by_name = self.arrays(given, (width, height))
        return tuple(by_name[name] for name in self.outputs)

    def arrays(self, given: Any, canvas: Size) -> dict[str, torch.Tensor]:
        """What ``network`` gave for images of that width and height, by the outputs' names."""
        raise NotImplementedError


def _by_channel(values: Channels) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device="cpu").view(1, 3, 1, 1)
