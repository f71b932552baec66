"""Bytes or pixels to uint8 (224, 224, 3): shorter side to 256, antialiased, then the centre."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
SHORTER_PIXELS, CROP_PIXELS = 256, 224


def by_pillow(body: bytes) -> Pixels:
    """As torchvision's own transforms do it, on a PIL image."""
    from PIL import Image
    from torchvision.transforms import v2

    steps = v2.Compose([v2.Resize(SHORTER_PIXELS), v2.CenterCrop(CROP_PIXELS)])
    return np.asarray(steps(Image.open(io.BytesIO(body)).convert("RGB")))


def resized(pixels: Pixels) -> Pixels:
    """The same for an image that somebody else has decoded."""
    import torch
    from torchvision.transforms.v2 import functional

    image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
    image = functional.resize(image, [SHORTER_PIXELS], antialias=True)
    image = functional.center_crop(image, [CROP_PIXELS, CROP_PIXELS])
    made: Pixels = image.permute(1, 2, 0).contiguous().numpy()
    return made


def ours() -> Callable[[bytes], Pixels]:
    """The decoder of Headrace's preprocess stage."""
    from shared.pipeline import Preprocess
    from shared.views.crop import Crop
    from workers.preprocess.decode import decode
    from workers.preprocess.resize import resize_into, use_one_thread

    use_one_thread()
    view = Crop(resize_shorter_pixels=SHORTER_PIXELS, crop_pixels=CROP_PIXELS)

    def run(body: bytes) -> Pixels:
        row: Pixels = np.empty((CROP_PIXELS, CROP_PIXELS, 3), np.uint8)
        decoded = decode(body, Preprocess(), (view,))
        resize_into(row, decoded.pixels, view.place((decoded.width, decoded.height)))
        return row

    return run
