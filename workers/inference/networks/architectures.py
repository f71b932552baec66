"""torchvision's architectures: their names, families and shapes, and how each is built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torchvision
from torch.overrides import TorchFunctionMode

from workers.inference.networks.ssdlite import FULL_TAIL, SSDLITE, full_tail, with_full_tail

# With two further classifiers, for training alone, which a state dict may lack.
_WITH_HELPERS = {"googlenet": "aux1.", "inception_v3": "AuxLogits."}

Shapes = dict[str, tuple[int, ...]]


def classifiers() -> list[str]:
    """torchvision's names of them."""
    return list(torchvision.models.list_models(module=torchvision.models))


def detectors() -> list[str]:
    """torchvision's names of them."""
    return list(torchvision.models.list_models(module=torchvision.models.detection))


def build(architecture: str, options: dict[str, Any]) -> torch.nn.Module:
    """The network with random weights; nothing is downloaded."""
    options = dict(options)
    has_full_tail = options.pop(FULL_TAIL, False)
    if architecture in detectors():
        options["weights_backbone"] = None
    if architecture in _WITH_HELPERS:
        options["init_weights"] = False  # slow, and torchvision warns where it is not given
    network: torch.nn.Module = torchvision.models.get_model(architecture, weights=None, **options)
    return with_full_tail(network, options["num_classes"]) if has_full_tail else network


def families() -> list[list[str]]:
    """The names that one module of torchvision's has, the smallest network first."""
    found: dict[str, list[str]] = {}
    for name in (*classifiers(), *detectors()):
        found.setdefault(torchvision.models.get_model_builder(name).__module__, []).append(name)
    return [sorted(names, key=_parameters) for names in found.values()]


def _parameters(architecture: str) -> int:
    first, *_ = torchvision.models.get_model_weights(architecture)
    return int(first.meta["num_params"])


def options_of(architecture: str, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """How the architecture is built beside its number of classes, which the tensors say."""
    if (helpers := _WITH_HELPERS.get(architecture)) is not None:
        return {"aux_logits": any(name.startswith(helpers) for name in state)}
    if architecture.startswith("vit_"):
        return _image_size(state)
    if architecture == "keypointrcnn_resnet50_fpn":
        predictor = state.get("roi_heads.keypoint_predictor.kps_score_lowres.weight")
        return (
            {} if predictor is None or predictor.ndim < 2 else {"num_keypoints": len(predictor[0])}
        )
    if architecture == SSDLITE:
        return full_tail(state)
    return {}


def _image_size(state: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """A transformer has a position for each patch of its images and one for the class."""
    positions, patches = state.get("encoder.pos_embedding"), state.get("conv_proj.weight")
    if positions is None or patches is None or positions.ndim != 3 or patches.ndim != 4:
        return {}
    side = math.isqrt(max(0, positions.shape[1] - 1)) * patches.shape[2]
    return {"image_size": side} if side else {}


def shapes_of(architecture: str, options: dict[str, Any]) -> Shapes:
    with _WithoutData():
        state = build(architecture, options).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


class _WithoutData(TorchFunctionMode):
    """Tensors are made on the meta device, without memory, where no value can be read.

    As a default device that would hold for ``torch.arange``, too, which some work out widths with.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (torch.empty, torch.zeros, torch.ones):
            kwargs = {**(kwargs or {}), "device": "meta"}
        return func(*args, **(kwargs or {}))
