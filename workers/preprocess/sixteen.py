"""Samples of 16 bits become 8, by as many bits as the image's largest value fills.

12 bits of a microscope in 16 would come out nearly black where the upper byte were taken. Pillow
takes it of colours; the lower bytes come of a second decoding, which few images need.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

Pixels = npt.NDArray[np.uint8]

_MAX_SAMPLE_VALUE_TAG, _BITS_TAG, _COLOUR_TAG = 281, 258, 262
# What Pillow calls the upper bytes of colours in a file, and the lower ones.
_LOWER_BYTES = {
    "RGB;16B": "RGB;16L",
    "RGB;16L": "RGB;16B",
    "RGB;16N": "RGB;16B",  # only on little-endian machines, as all are that we support
    "RGBX;16B": "RGBX;16L",
    "RGBX;16L": "RGBX;16B",
    "RGBX;16N": "RGBX;16B",
    "RGBA;16B": "RGBA;16L",
    "RGBA;16L": "RGBA;16B",
    "RGBA;16N": "RGBA;16B",
    "LA;16B": "RGBA",  # gray, its lower byte, alpha and its lower byte
}


def gray(image: Image.Image, scale: bool) -> Pixels:
    """RGB of a loaded image of one 16-bit channel."""
    samples = np.asarray(image)
    shift = _bits(int(samples.max(initial=0)), image) - 8 if scale else 8
    levels = np.minimum(samples >> shift, 255).astype(np.uint8)
    if image.format == "TIFF" and _tag(image, _COLOUR_TAG, 1) == 0:  # zero is white
        levels = 255 - levels
    return np.repeat(levels[:, :, np.newaxis], 3, axis=2)


def low_mode(image: Image.Image) -> str | None:
    """How Pillow names the lower bytes, of colours of 16 bits that are not loaded yet."""
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    return _LOWER_BYTES.get(_raw_mode(tiles[0].args)) if tiles else None


def scale_colours(upper: Pixels, image: ImageFile.ImageFile, mode: str) -> Pixels:
    """Colours by the bits that they fill.

    ``upper`` are their upper bytes as RGB; ``image``, the same file and not loaded yet, gives the
    lower ones as ``mode``.
    """
    image.tile = [
        tile._replace(args=(mode, *tile.args[1:]) if isinstance(tile.args, tuple) else mode)
        for tile in image.tile
    ]
    image.load()
    lower = np.asarray(image)
    lower = lower[:, :, 1:2] if mode == "RGBA" else lower[:, :, :3]
    samples = upper.astype(np.uint16) << 8 | lower
    shift = _bits(int(samples.max(initial=0)), image) - 8
    return np.minimum(samples >> shift, 255).astype(np.uint8)


def _raw_mode(args: object) -> str:
    return str(args[0] if isinstance(args, tuple) else args)


def _bits(largest: int, image: Image.Image) -> int:
    """Those that the values fill, or more where the file declares more; 8 to 16."""
    declared = 0
    if image.format == "TIFF":
        declared = _tag(image, _MAX_SAMPLE_VALUE_TAG, 0).bit_length()
        bits = _tag(image, _BITS_TAG, 16)
        declared = max(declared, bits if bits < 16 else 0)
    return min(16, max(8, largest.bit_length(), declared))


def _tag(image: Image.Image, tag: int, default: int) -> int:
    value = getattr(image, "tag_v2", {}).get(tag, default)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) and first >= 0 else default
