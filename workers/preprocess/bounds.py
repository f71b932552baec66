"""What an image may claim before anything of it is decoded. Each refusal names its limit."""

from __future__ import annotations

import re
import struct

from PIL import Image

from shared.errors import ItemError, ItemErrorCode
from shared.messages import MAX_SIDE_PIXELS

# The highest that any pipeline may have as its ``max_pixels``. Pillow warns above it, unheard, and
# refuses at twice as much; images between are refused here.
MOST_PIXELS = 10**9
Image.MAX_IMAGE_PIXELS = MOST_PIXELS
# libavif decodes no more.
_MOST_AVIF_PIXELS = 2**28
# Each tile of a JPEG 2000 costs OpenJPEG some 10 kB before it is read: as much as so many pixels.
_LEAST_TILE_PIXELS = 64 * 64
_FREE_TILES = 256

BOMB_ERRORS = (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning)

_ISPE = re.compile(rb"\0\0\0\x14ispe\0{4}(.{8})", re.DOTALL)
_SIZ = re.compile(rb"\xff\x4f\xff\x51.{4}(.{32})(..)", re.DOTALL)


def bomb(error: Exception) -> ItemError:
    """What one of ``BOMB_ERRORS`` means."""
    if isinstance(error, MemoryError):
        return _refusal(
            "There is not enough memory to decode it: make the image smaller, or give "
            "preprocessing more memory."
        )
    found = re.search(r"\d+ pixels", str(error))
    return _too_many(f"{found[0]}," if found else "pixels")


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Raises ItemError where so large an image is not decoded."""
    width, height = size
    if max(size) > MAX_SIDE_PIXELS:
        raise _refusal(
            f"It claims {width}x{height} pixels: no side may have more than {MAX_SIDE_PIXELS}, in "
            "any pipeline. Cut it into smaller images."
        )
    if width * height > MOST_PIXELS:
        raise _too_many(f"{width}x{height} pixels, {width * height} in all,")
    if width * height > max_pixels:
        raise _refusal(
            f"It claims {width}x{height} pixels, {width * height} in all, more than the pipeline's "
            f"max_pixels of {max_pixels}: raise it there."
        )


def check_claims(data: bytes, name: str, max_pixels: int) -> None:
    """Check what only the decoder itself would read, after it has taken memory for it."""
    if name == "AVIF":
        for claim in _ISPE.finditer(data):
            width, height = struct.unpack("!II", claim[1])
            check_size((width, height), max_pixels)
            if width * height > _MOST_AVIF_PIXELS:
                raise _refusal(
                    f"It claims {width}x{height} pixels, and AVIF is decoded up to "
                    f"{_MOST_AVIF_PIXELS} in all, in any pipeline. Make it smaller."
                )
    elif name == "JPEG 2000" and (found := _SIZ.search(data)):
        _check_jpeg2000(struct.unpack("!8I", found[1]), max_pixels)


def _check_jpeg2000(sizes: tuple[int, ...], max_pixels: int) -> None:
    """Sizes of the whole and its offset, of a tile and the first one's offset."""
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = sizes
    width, height = right - left, bottom - top
    check_size((width, height), max_pixels)
    if not (tile_width and tile_height and width > 0 and height > 0):
        return  # no decoder reads it
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    if tiles > max(_FREE_TILES, width * height // _LEAST_TILE_PIXELS):
        raise _refusal(
            f"It claims {tiles} tiles for {width}x{height} pixels: no pipeline takes more than one "
            f"for each {_LEAST_TILE_PIXELS} pixels. Save it with larger tiles."
        )


def _too_many(claim: str) -> ItemError:
    return _refusal(
        f"It claims {claim} more than the {MOST_PIXELS} that any pipeline may allow: make the "
        "image smaller."
    )


def _refusal(message: str) -> ItemError:
    return ItemError(ItemErrorCode.BOMB, message)
