"""The checksums of a PNG's pixels, which Pillow does not look at."""

from __future__ import annotations

import struct
import zlib

# Encoders make chunks of 8 KiB or more. The rest of a file of tiny ones is not checked.
_MAX_CHUNKS = 200_000


def has_damaged_pixels(data: bytes) -> bool:
    """Has a chunk of pixels another checksum than its bytes, or is one cut off?"""
    view, place = memoryview(data), 8
    for _ in range(_MAX_CHUNKS):
        if place + 12 > len(data):
            return False
        length, kind = struct.unpack_from("!I4s", data, place)
        end = place + 8 + length
        if kind == b"IEND":
            return False
        if kind == b"IDAT" and zlib.crc32(view[place + 4 : end]).to_bytes(4) != data[end : end + 4]:
            return True
        place = end + 4
    return False
