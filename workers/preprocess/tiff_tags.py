"""The first directory of a TIFF, read with no regard for what its tags mean."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

# Sizes of the types that say something about pixels: BYTE, SHORT, LONG, LONG8.
_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
# Those that tell what the pixels are.
_READ = frozenset((254, 256, 257, 258, 259, 262, 273, 277, 284, 324, 330, 339, 50706))
# More values than any image has of those.
_MAX_VALUES = 4096
# A sound file has dozens of tags, and no more than some 500 have a meaning.
MAX_TAGS = 4096


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the first directory lies and how it is written."""

    order: str  # "<" or ">"
    big: bool
    start: int  # of its first entry
    count: int

    @property
    def entry_bytes(self) -> int:
        """Of one tag."""
        return 20 if self.big else 12


@dataclass(frozen=True, slots=True)
class Tags:
    """Values by number of tag, of tags that hold whole numbers."""

    values: dict[int, tuple[int, ...]]

    def __contains__(self, tag: int) -> bool:
        return tag in self.values

    def all(self, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
        """All values of one tag."""
        return self.values.get(tag) or default

    def one(self, tag: int, default: int = 0) -> int:
        """The first value of one tag."""
        return self.all(tag, (default,))[0]


def tag_count(data: bytes) -> int:
    """How many the first directory claims; 0 where there is none."""
    found = _claimed(data)
    return found.count if found else 0


def directory(data: bytes) -> Directory | None:
    """The first directory, or None where it has absurdly many tags or ends beyond ``data``."""
    found = _claimed(data)
    if found is None or found.count > MAX_TAGS:
        return None
    return found if found.start + found.count * found.entry_bytes <= len(data) else None


def _claimed(data: bytes) -> Directory | None:
    order = "<" if data.startswith(b"II") else ">"
    big = b"+" in data[2:4]
    offset_kind, count_kind = ("Q", "Q") if big else ("I", "H")
    try:
        (offset,) = struct.unpack_from(order + offset_kind, data, 8 if big else 4)
        (count,) = struct.unpack_from(order + count_kind, data, offset)
    except (struct.error, OverflowError):
        return None
    start = offset + (8 if big else 2)
    return Directory(order, big, start, count)


def entries(data: bytes, found: Directory) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each tag."""
    for index in range(found.count):
        start = found.start + index * found.entry_bytes
        entry = data[start : start + found.entry_bytes]
        yield struct.unpack_from(found.order + "H", entry)[0], entry


def first_tags(data: bytes) -> Tags | None:
    """Those of ``_READ`` in the first directory whose values can be read."""
    found = directory(data)
    if found is None:
        return None
    values: dict[int, tuple[int, ...]] = {}
    for tag, entry in entries(data, found):
        if tag not in _READ or tag in values:
            continue
        kind, count = struct.unpack_from(found.order + ("HQ" if found.big else "HI"), entry, 2)
        if kind not in _TYPES or not count:
            continue
        shown = f"{found.order}{min(count, _MAX_VALUES)}{_TYPES[kind]}"
        place = 12 if found.big else 8
        try:
            if count * struct.calcsize("=" + _TYPES[kind]) <= len(entry) - place:
                read = struct.unpack_from(shown, entry, place)
            else:
                word = found.order + ("Q" if found.big else "I")
                (offset,) = struct.unpack_from(word, entry, place)
                read = struct.unpack_from(shown, data, offset)
        except (struct.error, OverflowError):
            continue
        values[tag] = read
    return Tags(values)
