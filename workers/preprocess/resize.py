"""Resize and crop, the one place in preprocessing that uses torch, where it is installed.

The geometry is torchvision's ``Resize`` and ``CenterCrop`` on a PIL image, to the pixel. Pillow
computes the same, a little slower, in an image of a fifth of the size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

try:
    import torch
except ModuleNotFoundError:
    torch = None  # type: ignore[assignment]

Pixels = npt.NDArray[np.uint8]

# Beyond this ratio of the sides nearly all of the resized image would be made to be cut off.
_MAX_RATIO = 4


def use_one_thread() -> None:
    """Keep torch to the calling thread: the images of a chunk are resized one after another."""
    if torch is not None:
        torch.set_num_threads(1)


def resize_into(row: Pixels, pixels: Pixels, size: tuple[int, int], shorter: int) -> None:
    """Fill ``row`` with the centre of the image, resized by an antialiased bilinear filter.

    ``row``: uint8 (crop, crop, 3), written in place. ``pixels``: uint8 (h, w, 3), C order. ``size``
    is the (width, height) that the result goes by, where ``pixels`` are a scaled version of it.
    ``shorter`` is the length that the shorter side is resized to, at least ``crop``.
    """
    crop = row.shape[0]
    width, height = resized_size(size, shorter)
    left, top = round((width - crop) / 2), round((height - crop) / 2)
    if torch is None or max(width, height) > _MAX_RATIO * shorter:
        row[:] = _resize_window(pixels, (width, height), (left, top, left + crop, top + crop))
        return
    # Its strides must say that colours lie together: torch resizes those in half the time.
    image = torch.from_numpy(pixels).unsqueeze(0).permute(0, 3, 1, 2)
    if image.shape[2:] != (height, width):
        image = torch.nn.functional.interpolate(
            image, size=(height, width), mode="bilinear", antialias=True
        )
    centre = image[0, :, top : top + crop, left : left + crop].permute(1, 2, 0)
    torch.from_numpy(row).copy_(centre)


def resized_size(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """The (width, height) of which the smaller is ``shorter``; the other is rounded down."""
    width, height = size
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def _resize_window(
    pixels: Pixels, resized: tuple[int, int], window: tuple[int, int, int, int]
) -> Pixels:
    """Only ``window`` (left, top, right, bottom) of the resized image: the same, in little memory.

    Pillow is slower, but it alone can be told a part of the image with fractions of pixels.
    """
    height, width, _ = pixels.shape
    left, top, right, bottom = window
    box = (
        left * width / resized[0],
        top * height / resized[1],
        right * width / resized[0],
        bottom * height / resized[1],
    )
    side = (right - left, bottom - top)
    return np.asarray(
        Image.fromarray(pixels).resize(side, Image.Resampling.BILINEAR, box=box), dtype=np.uint8
    )
