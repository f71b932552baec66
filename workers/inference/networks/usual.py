"""What images a network of torchvision's usually takes: sizes, mean and standard deviation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torchvision

from shared.catalog.model_files import usual_crop
from shared.fields import Channels
from shared.placement import Size
from shared.views import View
from shared.views.letterbox import Letterbox
from shared.views.stretch import Stretch
from workers.inference.networks.architectures import detectors
from workers.inference.networks.fits import Fit

# torchvision shifts the pixels of their published weights once more, from ImageNet's mean and
# deviation to these; so do networks that were trained on from them.
_SHIFTED = frozenset({"googlenet", "inception_v3"})
_HALF: Channels = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Usual:
    """What it is trained with. ``pixels``: the side of its images.

    ``mean`` and ``std`` are per RGB channel, of pixels scaled to 0..1.
    """

    pixels: int
    mean: Channels
    std: Channels
    is_stretched: bool = False
    is_detector: bool = False

    def view(self, canvas: Size | None) -> View:
        """How images become what it takes, on that canvas or the usual one.

        A classifier takes a crop, which is a square; for another shape images are stretched. SSD is
        trained on stretched images. Other detectors keep an image's shape and have its
        shorter side at ``pixels``, 800 for most; here it is the longer side, so that one canvas of
        that side holds images of any shape. A canvas of their longest side, 1,333, would cost 2.8
        times the work. The image lies at the top left, as torchvision pads.
        """
        width, height = canvas or (self.pixels, self.pixels)
        if not self.is_detector and width == height:
            return usual_crop(width)
        if self.is_stretched or not self.is_detector:
            return Stretch(width=width, height=height)
        return Letterbox(width=width, height=height, align="top_left")


def usual_of(found: Fit, network: Any) -> Usual:
    """For the architecture, as torchvision's own weights have it; nothing is downloaded.

    ``network``: torchvision's, loaded.
    """
    if found.architecture in detectors():
        own = network.transform
        pixels = own.fixed_size[0] if own.fixed_size else own.min_size[-1]
        mean, std = _channels(own.image_mean), _channels(own.image_std)
        return Usual(pixels, mean, std, bool(own.fixed_size), is_detector=True)
    first, *_ = torchvision.models.get_model_weights(found.architecture)
    own = first.transforms()
    pixels = found.options.get("image_size", own.crop_size[0])
    if found.architecture in _SHIFTED:
        return Usual(pixels, _HALF, _HALF)
    return Usual(pixels, _channels(own.mean), _channels(own.std))


def _channels(values: Any) -> Channels:
    red, green, blue = map(float, values)
    return red, green, blue
