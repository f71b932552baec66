"""torchvision's classifiers: scores, and the features that they come from."""

from __future__ import annotations

import logging
from typing import Any

import torch

from shared.placement import Size
from workers.inference.networks.normalised import Normalised

log = logging.getLogger(__name__)

SCORES, FEATURES = "scores", "features"
# All of torchvision's classifiers take this size, and its vision transformers no other.
USUAL_PIXELS = 224


class Classifier(Normalised):
    """``scores``, which are logits, and ``features``, the input of the last linear layer."""

    def arrays(self, given: Any, canvas: Size) -> dict[str, torch.Tensor]:  # noqa: ARG002
        """See ``Normalised``."""
        if not isinstance(given, tuple):
            return {SCORES: given}
        return dict(zip((SCORES, FEATURES), given, strict=True))


class _WithInput(torch.nn.Module):
    """Gives what a layer gives, and what it was given."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.layer(features), features


def give_features(network: torch.nn.Module, pixels: int = USUAL_PIXELS) -> bool:
    """Have the network give its scores and, beside them, its last linear layer's input.

    ``pixels``: the side of images that it takes. False, and the network stays as it is, where it
    does not return that layer's output as it is.
    """
    linear = [name for name, layer in network.named_modules() if isinstance(layer, torch.nn.Linear)]
    if not linear:
        return False
    layer = network.get_submodule(linear[-1])
    with torch.inference_mode():
        seeded = torch.Generator().manual_seed(0)
        images = torch.rand((1, 3, pixels, pixels), generator=seeded)
        expected = network(images)
        network.set_submodule(linear[-1], _WithInput(layer))
        try:
            scores, features = network(images)
            if torch.equal(scores, expected) and features.ndim == 2:
                return True
        except Exception as error:  # noqa: BLE001 - it goes on with what the layer gives
            log.debug("the network has no features: %s", error)
    network.set_submodule(linear[-1], layer)
    return False
