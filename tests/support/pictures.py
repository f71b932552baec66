"""Images made on the spot, with a structure that a wrong turn, crop or colour would show."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


def picture(width: int = 64, height: int = 48) -> Image.Image:
    """Red grows to the right, green grows downwards, blue is a dark frame's inside."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, :, 0] = np.linspace(0, 255, width, dtype=np.uint8)
    pixels[:, :, 1] = np.linspace(0, 255, height, dtype=np.uint8)[:, np.newaxis]
    pixels[height // 4 : -height // 4, width // 4 : -width // 4, 2] = 180
    return Image.fromarray(pixels)


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    """The file."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def difference(
    one: npt.NDArray[np.uint8] | Image.Image, other: npt.NDArray[np.uint8] | Image.Image
) -> float:
    """Mean absolute difference in levels; shapes must be equal."""
    first, second = np.asarray(one, np.int16), np.asarray(other, np.int16)
    assert first.shape == second.shape
    return float(np.abs(first - second).mean())
