"""Draws an image where its placement says: the one place in preprocessing that uses torch.

Of a crop the result is torchvision's ``Resize`` and ``CenterCrop`` on a PIL image, to the pixel.
Where torch is not installed, Pillow computes the same, a little slower, in a container image of a
fifth of the size.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from shared.pixels import Pixels
from shared.placement import Placement

# Beyond this ratio of the sides a crop would cut off nearly all of what was resized.
_MAX_RATIO = 4


@cache
def imported_torch() -> ModuleType | None:
    """Only when it is needed: importing it takes a second or two."""
    try:
        import torch
    except ModuleNotFoundError:
        return None
    return torch


def use_one_thread() -> None:
    """Keep torch to the calling thread: the images of a chunk are resized one after another."""
    if (torch := imported_torch()) is not None:
        torch.set_num_threads(1)


def resize_into(row: Pixels, pixels: Pixels, placement: Placement) -> None:
    """Fill ``row`` with the image where ``placement`` has it, and with padding around it.

    It is resized by a bilinear filter, antialiased where it gets smaller. For any shape, that needs
    at most as much memory again as the image or the canvas, whichever is larger.

    ``row``: uint8 (height, width, 3) of the canvas, written in place. ``pixels``: uint8 (h, w, 3),
    C order: the whole image, or a scaled version of it.
    """
    left, top, right, bottom = placement.shown
    x, y = placement.offset
    drawn = row[y + top : y + bottom, x + left : x + right]
    if drawn.shape != row.shape:
        row[:] = placement.pad
    width, height = placement.resized
    torch = imported_torch()
    if torch is None or max(width, height) > _MAX_RATIO * min(width, height):
        drawn[:] = _resize_window(pixels, placement)
        return
    # Its strides must say that colours lie together: torch resizes those in half the time.
    image = torch.from_numpy(pixels).unsqueeze(0).permute(0, 3, 1, 2)
    rows, columns = image.shape[2:]
    # Torch changes the width first: of a narrow, tall image it would widen every row. Nothing that
    # keeps its proportions is shortened here, so a crop is as torchvision makes it.
    if rows * width > 2 * columns * height:
        image = _resized(torch, image, height, columns)
    image = _resized(torch, image, height, width)
    shown = image[0, :, top:bottom, left:right].permute(1, 2, 0)
    torch.from_numpy(drawn).copy_(shown)


def _resized(torch: ModuleType, image: Any, height: int, width: int) -> Any:
    """``image``, a uint8 tensor, with shape (1, 3, height, width)."""
    if image.shape[2:] == (height, width):
        return image
    return torch.nn.functional.interpolate(
        image, size=(height, width), mode="bilinear", antialias=True
    )


def _resize_window(pixels: Pixels, placement: Placement) -> Pixels:
    """Only what the canvas shows of the resized image: the same, in little memory.

    Pillow is slower, but it alone can be told a part of the image with fractions of pixels.
    """
    height, width, _ = pixels.shape
    left, top, right, bottom = placement.shown
    new_width, new_height = placement.resized
    return np.asarray(
        Image.fromarray(pixels).resize(
            (right - left, bottom - top),
            Image.Resampling.BILINEAR,
            box=(
                left * width / new_width,
                top * height / new_height,
                right * width / new_width,
                bottom * height / new_height,
            ),
        ),
        dtype=np.uint8,
    )
