"""Samples of 16 bits become 8, by as many bits as the image's largest value fills.

12 bits of a microscope in 16 would come out nearly black where the upper byte were taken. Pillow
takes it of colours, so the few that need their lower bytes are decoded twice.
"""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from shared.pixels import Pixels

# Pillow lacks the big-endian one of gray of which zero is white; of the other order it has both.
TiffImagePlugin.OPEN_INFO[(b"MM", 0, (1,), 1, (16,), ())] = ("I;16B", "I;16B")

_BITS_TAG, _COLOUR_TAG, _MAX_SAMPLE_VALUE_TAG, _PLANES_TAG = 258, 262, 281, 284
# Pixels and planes of 16 bits a sample. Of CMYK, and of colours multiplied with their alpha, the
# upper bytes are taken always.
_COLOURS = frozenset(("RGB", "RGBX", "RGBA", "R", "G", "B", "A"))


def gray(image: Image.Image, scale: bool) -> Pixels:
    """RGB of a loaded image of one 16-bit channel."""
    samples = np.asarray(image)
    shift = _bits(int(samples.max(initial=0)), image) - 8 if scale else 8
    shifted = samples >> shift
    levels = np.minimum(shifted, 255, out=shifted).astype(np.uint8)
    if image.format == "TIFF" and _tag(image, _COLOUR_TAG, 1) == 0:  # zero is white
        levels = 255 - levels
    return np.repeat(levels[:, :, np.newaxis], 3, axis=2)


def fix_planes(image: ImageFile.ImageFile) -> None:
    """Colours of 16 bits that a TIFF holds plane by plane, which Pillow takes for 8 bits."""
    if _holds_planes(image) and _tag(image, _BITS_TAG, 8) == 16 and _codec(image) == "raw":
        order = "L" if image.tag_v2.prefix == b"II" else "B"  # type: ignore[attr-defined]
        order = order if image.mode.startswith("RGB") else image.mode.removeprefix("I;16")
        image.tile = [_with(tile, f"{_raw_mode(tile)[0]};16{order}") for tile in image.tile]


def has_more(image: ImageFile.ImageFile) -> bool:
    """Does the file, not loaded yet, hold 16 bits a colour, of which the lower 8 can be read?"""
    if not image.tile or (_holds_planes(image) and _codec(image) == "libtiff"):
        return False
    return _lower(image.tile[0]) is not None


def _holds_planes(image: ImageFile.ImageFile) -> bool:
    return image.format == "TIFF" and _tag(image, _PLANES_TAG, 1) == 2


def _codec(image: ImageFile.ImageFile) -> str:
    return image.tile[0].codec_name if image.tile else ""


def scale_colours(upper: Pixels, image: ImageFile.ImageFile) -> Pixels:
    """Colours by the bits that they fill, in place of ``upper``: their upper bytes as RGB.

    ``image``, the same file and not loaded yet, gives the lower ones.
    """
    is_gray = _raw_mode(image.tile[0]) == "LA;16B"
    image.tile = [_with(tile, _lower(tile)) for tile in image.tile]
    image.load()
    lower = np.array(image)[:, :, 1:2] if is_gray else np.array(image)[:, :, :3]
    largest = int(upper.max(initial=0)) << 8 or int(lower.max(initial=0))
    shift = _bits(largest, image) - 8
    lower >>= shift
    upper <<= 8 - shift  # no bit of it is lost: that many are 0
    upper |= lower
    return upper


def _with(tile: ImageFile._Tile, raw_mode: str | None) -> ImageFile._Tile:
    args = (raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode
    return tile._replace(args=args)


def _lower(tile: ImageFile._Tile) -> str | None:
    """The raw mode of a tile that gives the lower bytes of its samples."""
    raw_mode = _raw_mode(tile)
    if raw_mode == "LA;16B":
        return "RGBA"  # gray, its lower byte, alpha, and that one's lower byte
    pixel, _, order = raw_mode.partition(";16")
    # Pillow takes the upper bytes alone, where the order says that they are.
    swapped = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}.get(order)
    return f"{pixel};16{swapped}" if swapped and pixel in _COLOURS else None


def _raw_mode(tile: ImageFile._Tile) -> str:
    return str(tile.args[0] if isinstance(tile.args, tuple) else tile.args)


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
