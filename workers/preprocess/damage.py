"""What a failure to decode means to the owner of the image.

Decoders raise anything, and say "cannot identify" of text and of a damaged photo alike; so the
bytes are asked: how do they begin, and is their end there?
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import UnidentifiedImageError

from shared.errors import ItemError, ItemErrorCode
from workers.preprocess.bounds import BOMB_ERRORS, bomb
from workers.preprocess.signatures import HEIC, format_of, undecoded
from workers.preprocess.variants import variant

# Is the end missing? Only looked at when the image does not decode.
_ENDS_EARLY: dict[str, Callable[[bytes], bool]] = {
    "JPEG": lambda data: b"\xff\xd9" not in data[-64:],
    "PNG": lambda data: b"IEND" not in data[-64:],
    "GIF": lambda data: not data.rstrip(b"\0").endswith(b";"),
    "WEBP": lambda data: len(data) < 8 + int.from_bytes(data[4:8], "little"),
    "BMP": lambda data: len(data) < int.from_bytes(data[2:6], "little"),
    "AVIF": lambda data: not _boxes_fit(data),
    "JPEG 2000": lambda data: b"\xff\xd9" not in data[-64:],
    HEIC: lambda data: not _boxes_fit(data),
    "TIFF": lambda data: data[2:4] in {b"*\0", b"\0*"} and len(data) < _directory_offset(data),
}


def _directory_offset(tiff: bytes) -> int:
    """Where the first directory begins, which many programs write last."""
    return int.from_bytes(tiff[4:8], "little" if tiff.startswith(b"II") else "big")


def _boxes_fit(data: bytes) -> bool:
    """Does each box at the outermost level end inside the file?"""
    place = 0
    while place < len(data):
        length = int.from_bytes(data[place : place + 4])
        if length == 1:
            length = int.from_bytes(data[place + 8 : place + 16])
        if length == 0:  # to the end of the file
            return True
        if length < 8:
            return True  # damage of another kind
        place += length
    return place == len(data)


@contextmanager
def raising_item_errors(data: bytes) -> Iterator[None]:
    """Turn whatever a decoder raises on ``data`` into an ItemError."""
    try:
        yield
    except Exception as error:
        raise explain(data, error) from error


def explain(data: bytes, error: Exception) -> ItemError:
    """The one code and the reason that ``error`` amounts to."""
    if isinstance(error, ItemError):
        return error
    if isinstance(error, BOMB_ERRORS):
        return bomb(error)
    try:
        name = format_of(data)
    except ItemError as other:
        return other
    # The second is what Pillow says of pixels that it has no unpacker for.
    unread = isinstance(error, UnidentifiedImageError) or "unknown raw mode" in str(error)
    if kind := variant(name, data, unread):
        return undecoded(kind)
    # Pillow's own text for an unread header names an address in memory.
    reason = "no decoder reads its header" if unread else f"{type(error).__name__}: {error}"
    ends_early = _ENDS_EARLY.get(name)
    if "truncated" in reason.lower() or (ends_early is not None and ends_early(data)):
        return ItemError(ItemErrorCode.TRUNCATED, f"The {name} ends early: {reason}")
    if "unsupported" in reason.lower():
        return ItemError(ItemErrorCode.UNSUPPORTED, f"A rare kind of {name}: {reason}")
    return ItemError(ItemErrorCode.CORRUPT, f"The {name} is damaged: {reason}")
