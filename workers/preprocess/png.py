"""Damage to a PNG's pixels that Pillow does not notice: it ignores the checksums of their chunks,
and leaves rows black where the deflated data ends early.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from PIL import Image

# Encoders make chunks of 8 KiB or more. The rest of a file of tiny ones is not checked.
_MAX_CHUNKS = 200_000
_PIECE_BYTES = 2**20
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # in a pixel, by type of colour
# First column and row, and steps, of the seven passes of an interlaced picture.
_PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)


def has_damaged_pixels(image: Image.Image, data: bytes) -> bool:
    """Is a chunk of the loaded image's pixels garbled or cut, or do they end early?"""
    for length, body, checksum in _chunks_of_pixels(data):
        if len(body) != length + 4 or zlib.crc32(body).to_bytes(4) != checksum:
            return True
    return _may_lack_rows(image) and _ends_early(data)


def _chunks_of_pixels(data: bytes) -> Iterator[tuple[int, memoryview, bytes]]:
    """Claimed length, name and data, and checksum of each."""
    view, place = memoryview(data), 8
    for _ in range(_MAX_CHUNKS):
        if place + 8 > len(data):
            return
        length, kind = struct.unpack_from("!I4s", data, place)
        end = place + 8 + length
        if kind == b"IEND":
            return
        if kind == b"IDAT":
            yield length, view[place + 4 : end], data[end : end + 4]
        place = end + 4


def _may_lack_rows(image: Image.Image) -> bool:
    """Is one of the last two rows, of which an interlaced picture gets one last, all zeros?"""
    width, height = image.size
    rows = range(max(0, height - 2), height)
    return any(not image.crop((0, row, width, row + 1)).getbbox(alpha_only=False) for row in rows)


def _ends_early(data: bytes) -> bool:
    """Do the deflated data give fewer bytes than the header asks for?"""
    missing = _pixel_bytes(data)
    inflate = zlib.decompressobj()
    for _, body, _ in _chunks_of_pixels(data):
        deflated: bytes | memoryview = body[4:]
        while deflated and missing > 0 and not inflate.eof:
            missing -= len(inflate.decompress(deflated, _PIECE_BYTES))
            deflated = inflate.unconsumed_tail
    return missing > 0


def _pixel_bytes(data: bytes) -> int:
    """Of all rows, each with the byte that names its filter."""
    width, height, bits, colour, _, _, interlaced = struct.unpack_from("!IIBBBBB", data, 16)
    total = 0
    for left, top, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits * _SAMPLES[colour] // 8))
    return total
