"""Decoding JPEG fast, and noticing where its data is damaged.

libjpeg fills up missing data and goes on after garbled data, with a warning. simplejpeg raises the
first warning of a picture; Pillow swallows all of them. A warning alone proves no damage: odd
metadata, padding and a missing end marker cause some, too. So a picture with a warning is decoded
once more without those, in its smallest size, and what is left counts.

Not noticed: garbled data that happens to decode to the right number of blocks, and damage in a
picture whose sampling factors simplejpeg does not take.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import simplejpeg
from PIL import Image, ImageFile

from shared.item import ImageWarning
from shared.pixels import Pixels
from workers.preprocess.jpeg_segments import (
    END_OF_IMAGE,
    FRAMES,
    SCAN,
    START_OF_IMAGE,
    JpegSegment,
    segments,
)

# As Pillow calls them. Of an MPO, which holds several pictures, the first is decoded.
_FORMATS = frozenset(("JPEG", "MPO"))

# What is decoded by simplejpeg, by Pillow's modes, and to what.
_COLOURS = {"RGB": "RGB", "L": "RGB", "CMYK": "CMYK"}
_PROGRESSIVE_FRAMES = frozenset((0xC2, 0xCA))
# Frames, Huffman and quantization tables, restart interval and scans: all that decoding needs.
_NEEDED = frozenset((*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDD))
# Of a repeated byte at the end of coded data, the first ones may be data.
_PADDING_LEFT = 2
_COEFFICIENTS = 64
# The first and the last of them, and no bits left for later scans.
_ALL_COEFFICIENTS = bytes((0, _COEFFICIENTS - 1, 0))

_NO_END = "Premature end of JPEG file"
_DAMAGE = re.compile(r"Corrupt JPEG data|Inconsistent progression")
_LEFT_OVER = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")


def decode_jpeg(
    image: ImageFile.ImageFile, data: bytes, min_pixels: int
) -> tuple[Pixels | None, ImageWarning | None]:
    """Decode to RGB, halved while the shorter side stays above ``min_pixels``.

    The pixels are None where the picture is left to Pillow.
    """
    if image.format not in _FORMATS or image.mode not in _COLOURS:
        return None, None
    has_one_scan = _has_one_scan(image, data)
    try:
        pixels = _decode_fast(image, data, min_pixels)
    except Exception as error:  # noqa: BLE001 - whatever it is, Pillow may decode it
        if _is_damaged(image, data):
            return None, "damaged_data"
        if str(error) != _NO_END:
            return None, None
        # All is there but the end marker, which Pillow cannot do without.
        return _decode_fast(image, data + END_OF_IMAGE, min_pixels, strict=False), None
    is_complete = has_one_scan or _is_complete(segments(data))
    return pixels, None if is_complete else "damaged_data"


def _has_one_scan(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Is it sequential, with all components in the first scan? So are most photos.

    Pillow has read up to the end of that scan's header. Where it has not, this is False.
    """
    count = getattr(image, "layers", 0)
    header = b"\xff\xda" + (6 + 2 * count).to_bytes(2) + bytes((count,))
    start = image.fp.tell() - len(header) - 2 * count - 3 if image.fp else -1
    return start > 0 and "progressive" not in image.info and data.startswith(header, start)


def _decode_fast(
    image: Image.Image, data: bytes, min_pixels: int, *, strict: bool = True
) -> Pixels:
    """Raises ValueError where simplejpeg does not take the picture; if ``strict``, at a warning."""
    # Halves only: the decoder also knows eighths, such as 7/8, which blur and save nothing.
    divisor = next((n for n in (8, 4, 2) if min(image.size) >= n * min_pixels), 1)
    width, height = (-(-side // divisor) for side in image.size)
    _check_size(image, data)
    colours = _COLOURS[image.mode]
    pixels: Pixels = simplejpeg.decode_jpeg(
        data, colours, min_height=height, min_width=width, strict=strict
    )
    if colours == "RGB":
        return pixels
    size = pixels.shape[1::-1]
    # Inverted, as all programs write it and Pillow reads it.
    return np.array(Image.frombytes("CMYK", size, (~pixels).tobytes()).convert("RGB"))


def _check_size(image: Image.Image, data: bytes) -> None:
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    if (width, height) != image.size:
        raise ValueError("simplejpeg reads another header than the one that was checked")


def _is_damaged(image: Image.Image, data: bytes) -> bool:
    """Is there a warning that neither metadata nor padding nor a missing end explains?"""
    needed = _needed(data)
    warning = _warning(image, needed)
    if _left_over_bytes(warning):
        coded = needed[-1].body
        needed[-1] = JpegSegment(None, _without_padding(coded))
        is_padded = needed[-1].body != coded or coded.endswith(b"\0")
        warning = _warning(image, needed)
        if is_padded and 0 < _left_over_bytes(warning) <= _PADDING_LEFT:
            return not _is_complete(needed)
    return bool(_DAMAGE.match(warning)) or not _is_complete(needed)


def _left_over_bytes(warning: str) -> int:
    """How many bytes there are between the last scan's data and the end marker."""
    found = _LEFT_OVER.match(warning)
    return int(found[1]) if found else 0


def _warning(image: Image.Image, picture: Iterable[JpegSegment]) -> str:
    """The first warning, or the error, of the picture made of ``picture``; else nothing."""
    data = b"".join((START_OF_IMAGE, *map(_bytes, picture), END_OF_IMAGE))
    try:
        _check_size(image, data)
        simplejpeg.decode_jpeg(data, _COLOURS[image.mode], min_height=1, min_width=1)
    except Exception as error:  # noqa: BLE001 - Pillow decides what an error comes to
        return str(error)
    return ""


def _without_padding(data: bytes) -> bytes:
    """Coded data without most of the repeated byte that it ends with."""
    return data[: len(data.rstrip(data[-1:])) + _PADDING_LEFT]


def _needed(data: bytes) -> list[JpegSegment]:
    """The segments without metadata, and with the parameters that sequential scans should have."""
    needed = [each for each in segments(data) if each.marker in {None, *_NEEDED}]
    if any(each.marker in _PROGRESSIVE_FRAMES for each in needed):
        return needed
    return [
        each._replace(body=each.body[:-3] + _ALL_COEFFICIENTS) if each.marker == SCAN else each
        for each in needed
    ]


def _bytes(segment: JpegSegment) -> bytes:
    if segment.marker is None:
        return segment.body
    return bytes((0xFF, segment.marker)) + (len(segment.body) + 2).to_bytes(2) + segment.body


def _is_complete(picture: Iterable[JpegSegment]) -> bool:
    """Do the scans give all bits of all coefficients of all components?"""
    missing: dict[int, bytearray] = {}  # bits still to come, of each coefficient
    is_progressive = False
    for marker, body in picture:
        if marker in FRAMES and not missing:
            missing = {component: bytearray(b"\xff" * _COEFFICIENTS) for component in body[6::3]}
            is_progressive = marker in _PROGRESSIVE_FRAMES
        elif marker == SCAN and missing and len(body) >= 6:  # one component at least
            components = missing.keys() & body[1:-3:2]
            if not is_progressive:
                for component in components:
                    del missing[component]
                if not missing:
                    return True
                continue
            first, last, bits = body[-3:]
            for component in components:
                count = len(missing[component][first : last + 1])
                missing[component][first : last + 1] = bytes((bits & 15,)) * count
            if not any(map(any, missing.values())):
                return True
    return False
