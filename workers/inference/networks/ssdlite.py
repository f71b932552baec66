"""SSDlite as torchvision builds it on a trained backbone, whose last layers are twice as wide.

Its function does so only where it downloads the backbone's weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torchvision.models import mobilenet_v3_large
from torchvision.models.detection.ssdlite import SSDLiteFeatureExtractorMobileNet, SSDLiteHead

SSDLITE = "ssdlite320_mobilenet_v3_large"
FULL_TAIL = "full_tail"
# The first layer that differs, and how many channels it then has.
_LAYER, _CHANNELS = "backbone.features.1.0.3.0.weight", 160
# The block at whose expansion the first feature map is taken, and each map's channels.
_FIRST_MAP_BLOCK = 13
_MAP_CHANNELS = [672, 960, 512, 256, 256, 128]


def full_tail(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The option for these weights; none where their backbone is the narrow one."""
    layer = state.get(_LAYER)
    return {FULL_TAIL: True} if layer is not None and layer.shape[:1] == (_CHANNELS,) else {}


def with_full_tail(network: torch.nn.Module, classes: int) -> torch.nn.Module:
    """The network with that backbone, and a head for it."""
    norm: Any = partial(torch.nn.BatchNorm2d, eps=0.001, momentum=0.03)
    features = mobilenet_v3_large(weights=None, norm_layer=norm).features
    network.backbone = SSDLiteFeatureExtractorMobileNet(features, _FIRST_MAP_BLOCK, norm)
    anchors = network.anchor_generator.num_anchors_per_location()  # type: ignore[operator,union-attr]
    network.head = SSDLiteHead(_MAP_CHANNELS, anchors, classes, norm)
    return network
