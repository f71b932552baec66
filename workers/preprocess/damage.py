"""What a failure to decode means to the owner of the image.

Decoders raise anything, and say "cannot identify" of text and of a damaged photo alike; so the
bytes are asked: how do they begin, and is their end there?
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from shared.errors import ItemError, ItemErrorCode

# The formats that are decoded. A parser of a rare format is a door that nobody needs open.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

_SIGNATURES = (
    ("JPEG", rb"\xff\xd8"),
    ("PNG", rb"\x89PNG"),
    ("WEBP", rb"RIFF.{4}WEBP"),
    ("GIF", rb"GIF8[79]a"),
    ("BMP", rb"BM(?:.{4}\0{4}|.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0{3})"),
    ("TIFF", rb"II[*+]\0|MM\0[*+]"),
    ("HEIF or AVIF", rb".{4}ftyp(?:avi[fs]|hei[cfmsx]|hev[cmsx]|mif1|msf1)"),
    ("JPEG 2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    ("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL "),
    ("ICO", rb"\0\0[\x01\x02]\0[^\0]\0"),
    ("Photoshop", rb"8BPS"),
    ("Netpbm", rb"P[1-7fF]\s"),
    ("DDS", rb"DDS "),
    ("QOI", rb"qoif"),
    ("OpenEXR", rb"\x76\x2f\x31\x01"),
    ("Radiance HDR", rb"#\?RA(?:DIANC|NC)E"),
    ("PCX", rb"\x0a[\0\x02-\x05]\x01[\x01\x02\x04\x08]"),
    ("ICNS", rb"icns"),
    ("MNG", rb"[\x8a\x8b][MJ]NG"),
    ("EPS", rb"%!PS"),
    ("XPM", rb"/\* XPM \*/"),
    ("FITS", rb"SIMPLE  ="),
    ("SVG", rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.{0,2000})?<svg[\s>]"),
)
_PATTERNS = [(name, re.compile(pattern, re.DOTALL)) for name, pattern in _SIGNATURES]

# Is the end missing? Only looked at when the image does not decode.
_ENDS_EARLY: dict[str, Callable[[bytes], bool]] = {
    "JPEG": lambda data: b"\xff\xd9" not in data[-64:],
    "PNG": lambda data: b"IEND" not in data[-64:],
    "GIF": lambda data: not data.rstrip(b"\0").endswith(b";"),
    "WEBP": lambda data: len(data) < 8 + int.from_bytes(data[4:8], "little"),
    "BMP": lambda data: len(data) < int.from_bytes(data[2:6], "little"),
    "TIFF": lambda data: data[2:4] in {b"*\0", b"\0*"} and len(data) < _directory_offset(data),
}


def _directory_offset(tiff: bytes) -> int:
    """Where the first directory begins, which many programs write last."""
    return int.from_bytes(tiff[4:8], "little" if tiff.startswith(b"II") else "big")


@contextmanager
def explained(data: bytes) -> Iterator[None]:
    """Turn whatever a decoder raises on ``data`` into an ItemError."""
    try:
        yield
    except Exception as error:
        raise explain(data, error) from error


def explain(data: bytes, error: Exception) -> ItemError:
    """The one code and the reason that ``error`` amounts to."""
    if isinstance(error, ItemError):
        return error
    if isinstance(error, MemoryError):
        return ItemError(ItemErrorCode.BOMB, "There is not enough memory to decode it.")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ItemError(ItemErrorCode.BOMB, str(error))
    name = next((name for name, pattern in _PATTERNS if pattern.match(data)), None)
    if name is None:
        return ItemError(ItemErrorCode.NOT_AN_IMAGE, "It begins like no image that we know.")
    if name not in FORMATS:
        return ItemError(
            ItemErrorCode.UNSUPPORTED, f"{name} is not decoded, only {', '.join(FORMATS)}."
        )
    # Pillow's own text for an unread header names an address in memory.
    unread = isinstance(error, UnidentifiedImageError)
    reason = "no decoder reads its header" if unread else f"{type(error).__name__}: {error}"
    ends_early = _ENDS_EARLY.get(name)
    if "truncated" in reason.lower() or (ends_early is not None and ends_early(data)):
        return ItemError(ItemErrorCode.TRUNCATED, f"The {name} ends early: {reason}")
    if "unsupported" in reason.lower():
        return ItemError(ItemErrorCode.UNSUPPORTED, f"A rare kind of {name}: {reason}")
    return ItemError(ItemErrorCode.CORRUPT, f"The {name} is damaged: {reason}")
