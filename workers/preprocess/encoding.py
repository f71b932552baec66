"""Objects that are stored compressed, as their Content-Encoding says. gzip is unpacked.

The header is not always true: clients unpack and keep it, or set it to anything. So bytes that do
not begin as gzip does are taken as they are, and another encoding matters only where the bytes are
no image.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from shared.errors import ItemError, ItemErrorCode

_GZIP_MAGIC = b"\x1f\x8b\x08"
_GZIP_WINDOW_BITS = 31  # zlib's number for gzip with any window
# Names without a meaning for the stored bytes: the second is about how they were sent.
_NONE = frozenset(("", "identity", "aws-chunked"))
_GZIP = frozenset(("gzip", "x-gzip"))
# The others of IANA's registry that are in use.
_OTHERS = frozenset(("br", "compress", "dcb", "dcz", "deflate", "x-compress", "zstd"))
# Each member of a file of many costs a copy of the rest of its piece.
_PIECE_BYTES = 2**16
_MAX_MEMBERS = 10_000


@dataclass(frozen=True, slots=True)
class Encoded:
    """An object's bytes as they are stored, and the names of its encodings."""

    data: bytes
    names: tuple[str, ...] = ()

    def plain(self, max_bytes: int) -> bytes:
        """The bytes of the image, at most ``max_bytes``. Raises ItemError."""
        if len(self.names) == 1 and self.names[0] in _GZIP and self.data.startswith(_GZIP_MAGIC):
            return _unpack(self.data, max_bytes)
        return self.data

    def explained(self, error: ItemError) -> ItemError:
        """``error``, or that nobody unpacks what is stored."""
        is_packed = len(self.names) > 1 or not _OTHERS.isdisjoint(self.names)
        if error.item_code is not ItemErrorCode.NOT_AN_IMAGE or not is_packed:
            return error
        return ItemError(
            ItemErrorCode.UNSUPPORTED,
            f"Its Content-Encoding is {', '.join(self.names)}; only gzip alone is unpacked.",
        )


def as_encoded(data: bytes, header: str) -> bytes | Encoded:
    """``data`` with the Content-Encoding that it came with, if that says anything."""
    names = tuple(name.strip().lower() for name in header.split(","))
    names = tuple(name for name in names if name not in _NONE)
    known = _GZIP | _OTHERS
    return Encoded(data, names) if names and known.issuperset(names) else data


def _unpack(data: bytes, max_bytes: int) -> bytes:
    """All members of a gzip file; what follows them is ignored, as gzip does."""
    view, position = memoryview(data), 0
    unpacked: list[bytes] = []
    room_bytes = max_bytes
    for _ in range(_MAX_MEMBERS):
        member = zlib.decompressobj(_GZIP_WINDOW_BITS)
        while not member.eof:
            piece = view[position : position + _PIECE_BYTES]
            if not piece:
                raise ItemError(ItemErrorCode.TRUNCATED, "Its gzip data ends early.")
            try:
                unpacked.append(member.decompress(piece, room_bytes + 1))
            except zlib.error as error:
                reason = f"Its gzip data is damaged: {error}."
                raise ItemError(ItemErrorCode.CORRUPT, reason) from error
            room_bytes -= len(unpacked[-1])
            if room_bytes < 0:
                raise ItemError(
                    ItemErrorCode.TOO_LARGE,
                    f"Unpacked, it has more than the {max_bytes} bytes of max_object_bytes.",
                )
            position += len(piece) - len(member.unused_data)
        if not data.startswith(_GZIP_MAGIC, position):
            return b"".join(unpacked)
    raise ItemError(
        ItemErrorCode.UNSUPPORTED, f"Its gzip data has more than {_MAX_MEMBERS:,} members."
    )
