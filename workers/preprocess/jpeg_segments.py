"""The segments of a JPEG, as libjpeg finds them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

START_OF_IMAGE, END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
SCAN, END = 0xDA, 0xD9
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# A sound file has dozens, of 64 KiB at most each outside the scans.
MAX_SEGMENTS = 10_000

_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))
_MARKER = re.compile(rb"\xff([\x01-\xfe])")
# Restart markers are part of a scan.
_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


class JpegSegment(NamedTuple):
    """``body`` is what follows the length; ``marker`` is None for the coded data of a scan."""

    marker: int | None
    body: bytes


def segments(data: bytes) -> Iterator[JpegSegment]:
    """The segments of the first picture up to its end; of absurdly many, the first ones."""
    position = len(START_OF_IMAGE)
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None or found[1][0] == END:
            return
        marker, position = found[1][0], found.end()
        if marker in _WITHOUT_LENGTH:
            continue
        length = int.from_bytes(data[position : position + 2])
        yield JpegSegment(marker, data[position + 2 : position + length])
        position += length
        if marker == SCAN:
            after = _AFTER_SCAN.search(data, position)
            start, position = position, after.start() if after else len(data)
            yield JpegSegment(None, data[start:position])
