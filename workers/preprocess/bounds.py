"""What an image may claim before anything of it is decoded. Each refusal names its limit."""

from __future__ import annotations

import re
import struct

from PIL import Image

from shared.errors import ItemError, ItemErrorCode
from shared.limits import MAX_IMAGE_SIDE_PIXELS
from workers.preprocess.jpeg2000 import jpeg2000_header, too_much
from workers.preprocess.signatures import undecoded
from workers.preprocess.tiff_tags import MAX_TAGS, tag_count
from workers.preprocess.variants import variant

# The highest that any pipeline may have as its ``max_pixels``. Pillow warns above it, unheard, and
# refuses at twice as much; images between are refused here.
MAX_PIXELS = 10**9
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
# libavif decodes no more.
_MAX_AVIF_PIXELS = 2**28

BOMB_ERRORS = (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning)

_ISPE = re.compile(rb"\0\0\0\x14ispe\0{4}(.{8})", re.DOTALL)


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
    if max(size) > MAX_IMAGE_SIDE_PIXELS:
        raise _refusal(
            f"It claims {width}x{height} pixels: no side may have more than "
            f"{MAX_IMAGE_SIDE_PIXELS}, in any pipeline. Cut it into smaller images."
        )
    if width * height > MAX_PIXELS:
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
            if width * height > _MAX_AVIF_PIXELS:
                raise _refusal(
                    f"It claims {width}x{height} pixels, and AVIF is decoded up to "
                    f"{_MAX_AVIF_PIXELS} in all, in any pipeline. Make it smaller."
                )
    elif name == "JPEG 2000" and (header := jpeg2000_header(data)):
        check_size((header.width, header.height), max_pixels)
        if header.components > 4:  # which would cost before Pillow refuses them
            raise undecoded(variant(name, data, unread=True) or name)
        if too_many := too_much(header, data):
            raise _refusal(too_many)
    elif name == "TIFF" and (count := tag_count(data)) > MAX_TAGS:
        raise _refusal(
            f"It claims {count} tags: no pipeline takes more than {MAX_TAGS}. Save it with fewer."
        )


def _too_many(claim: str) -> ItemError:
    return _refusal(
        f"It claims {claim} more than the {MAX_PIXELS} that any pipeline may allow: make the "
        "image smaller."
    )


def _refusal(message: str) -> ItemError:
    return ItemError(ItemErrorCode.BOMB, message)
