"""A torchvision classifier with its weights and its normalisation, as one torch module."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torchvision

from shared.errors import PermanentError
from shared.fields import Channels
from workers.inference.errors import one_line

log = logging.getLogger(__name__)

SCORES, FEATURES = "scores", "features"
# All of torchvision's classifiers take this size, and its vision transformers no other.
_TRIED_PIXELS = 224


class Normalised(torch.nn.Module):
    """Takes uint8 RGB images of shape (images, height, width, 3), gives a tuple of arrays.

    They are those of ``outputs``, in that order, each with one entry for each image: ``scores``,
    which are logits, and ``features``, the input of the network's last linear layer.
    The pixels are scaled and shifted in float32, then cast to what the network computes in.
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
        if not isinstance(given, tuple):
            return (given,)
        by_name = dict(zip((SCORES, FEATURES), given, strict=True))
        return tuple(by_name[name] for name in self.outputs)


class _WithInput(torch.nn.Module):
    """Gives what a layer gives, and what it was given."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.layer(features), features


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


def build_network(
    architecture: str,
    weights: Path,
    mean: Channels,
    std: Channels,
    outputs: Sequence[str] | None = (SCORES,),
) -> Normalised:
    """The architecture with the weights of a ``.pth`` state dict, in evaluation mode, on the CPU.

    ``outputs``: the arrays that are wanted; None: all that the network has.

    Raises PermanentError where torchvision has no such classifier, the weights are not its own or
    it has no such output, and OSError where the weights cannot be read.
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
    network.eval()
    if outputs is not None and tuple(outputs) == (SCORES,):
        return Normalised(network, mean, std, outputs).eval()
    has = (SCORES, FEATURES) if _give_features(network) else (SCORES,)
    wanted = has if outputs is None else tuple(outputs)
    if unknown := set(wanted) - set(has):
        raise PermanentError(
            "no_such_output",
            f"torchvision's {architecture} has no output '{min(unknown)}', only {', '.join(has)}.",
            "Choose another model for what needs it.",
        )
    return Normalised(network, mean, std, wanted).eval()


def _give_features(network: torch.nn.Module) -> bool:
    """Have the network give its scores and, beside them, its last linear layer's input.

    False, and the network stays as it is, where it does not return that layer's output as it is.
    """
    linear = [name for name, layer in network.named_modules() if isinstance(layer, torch.nn.Linear)]
    if not linear:
        return False
    layer = network.get_submodule(linear[-1])
    with torch.inference_mode(), _float32_on_cpu():
        seeded = torch.Generator().manual_seed(0)
        images = torch.rand((1, 3, _TRIED_PIXELS, _TRIED_PIXELS), generator=seeded)
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
