"""Sound files of kinds that are not decoded here, by name."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from workers.preprocess.tiff_tags import Tags, first_tags

_LOSSLESS = frozenset((0xC3, 0xC7, 0xCB, 0xCF))
_HIERARCHICAL = frozenset((0xC5, 0xC6, 0xCD, 0xCE, 0xDE))
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xDE}
_JPEG_DEPTHS = range(2, 17)

_COMPRESSIONS = {
    1: "none", 2: "CCITT RLE", 3: "CCITT G3", 4: "CCITT G4", 5: "LZW", 6: "old-style JPEG",
    7: "JPEG", 8: "Deflate", 9: "JBIG", 10: "JBIG", 32766: "NeXT", 32771: "CCITT RLE/W",
    32773: "PackBits", 32809: "ThunderScan", 32895: "IT8", 32896: "IT8", 32897: "IT8",
    32898: "IT8", 32908: "Pixar film", 32909: "Pixar log", 32946: "Deflate", 32947: "DCS",
    33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000", 34661: "JBIG",
    34676: "SGI log", 34677: "SGI log 24", 34712: "JPEG 2000", 34713: "Nikon NEF",
    34887: "LERC", 34892: "lossy DNG", 34925: "LZMA", 34926: "Zstandard", 34927: "WebP",
    34933: "PNG", 34934: "JPEG XR", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL",
    52546: "JPEG XL",
}  # fmt: skip
_COLOURS = {
    0: "gray", 1: "gray", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELAB",
    9: "ICCLAB", 10: "ITULAB", 32803: "colour filter array", 32844: "LogL", 32845: "LogLUV",
    34892: "linear raw",
}  # fmt: skip
_SAMPLES = {1: "", 2: " signed", 3: " floating-point", 4: "", 5: " complex", 6: " complex"}
_DEPTHS = frozenset((1, 2, 4, 6, 8, 10, 12, 14, 16, 24, 32, 64, 128))
_CAMERA_RAW = "A camera raw file (DNG, NEF, ARW or the like)"
# Where a file with one of these fails, it is damaged.
_DECODED_COMPRESSIONS = frozenset(
    (1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946, 34676, 34677, 34925, 50000)
)


def variant(name: str, data: bytes, unread: bool) -> str | None:
    """What kind of ``name`` this is, if it is one that is not decoded: "A JPEG with …".

    ``unread``: no decoder took its header. A TIFF whose header is sound is then of a rare layout.
    """
    try:
        return _NAMERS[name](data, unread) if name in _NAMERS else None
    except (struct.error, IndexError, ValueError, TypeError):
        return None  # no sound header


def _jpeg(data: bytes, _unread: bool) -> str | None:
    place = 2
    while place + 10 <= len(data):
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker in _FRAMES:
            return _jpeg_frame(marker, data[place + 4], data[place + 9])
        if marker in {0x01, 0xFF, *range(0xD0, 0xD9)}:
            place += 1 if marker == 0xFF else 2
        elif marker == 0xF7:
            return "A JPEG-LS file"
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return None


def _jpeg_frame(marker: int, bits: int, components: int) -> str | None:
    if marker in _LOSSLESS and bits in _JPEG_DEPTHS:
        return f"A lossless JPEG with {bits} bits a sample"
    if marker in _HIERARCHICAL and bits in {8, 12}:
        return "A hierarchical JPEG"
    if bits == 12:
        return "A JPEG with 12 bits a sample"
    if bits == 8 and components == 2:
        return "A JPEG with 2 components"
    return None


def _png(data: bytes, _unread: bool) -> str | None:
    return "A PNG of Apple's own kind (CgBI), as in iOS apps" if data[12:16] == b"CgBI" else None


def _tiff(data: bytes, unread: bool) -> str | None:
    tags = first_tags(data)
    if tags is None or not (tags.one(256) and tags.one(257)):
        return None
    if 50706 in tags or _begins_with_preview(tags):
        return _CAMERA_RAW
    compression, colour = tags.one(259, 1), tags.one(262, 0)
    bits, samples = tags.all(258, (1,)), tags.one(277, 1)
    kinds = tags.all(339, (1,))
    if not (
        compression in _COMPRESSIONS
        and colour in _COLOURS
        and set(bits) <= _DEPTHS
        and len(bits) in {1, samples}
        and set(kinds) <= _SAMPLES.keys()
        and _has_data(tags)
    ):
        return None
    if compression not in _DECODED_COMPRESSIONS:
        return f"A TIFF with {_COMPRESSIONS[compression]} compression"
    return _layout(colour, bits, samples, kinds) if unread else None


def holds_preview(data: bytes) -> str | None:
    """Its name, if this TIFF is a camera's raw file: what decodes of it would be a thumbnail."""
    tags = first_tags(data)
    return _CAMERA_RAW if tags is not None and _begins_with_preview(tags) else None


def _begins_with_preview(tags: Tags) -> bool:
    return 330 in tags and bool(tags.one(254) & 1)


def _has_data(tags: Tags) -> bool:
    return 273 in tags or 324 in tags


def _layout(colour: int, bits: tuple[int, ...], samples: int, kinds: tuple[int, ...]) -> str:
    depth = "/".join(str(count) for count in dict.fromkeys(bits))
    kind = _SAMPLES[kinds[0]]
    bands = "1 band" if samples == 1 else f"{samples} bands"
    of = "" if samples > 4 and colour in {0, 1} else f" ({_COLOURS[colour]})"
    return f"A TIFF with {bands} of {depth}{kind} bits{of}"


def _bmp(data: bytes, _unread: bool) -> str | None:
    compression = int.from_bytes(data[30:34], "little")
    if data[14] >= 40 and compression in {4, 5}:
        return f"A BMP that holds a {('JPEG', 'PNG')[compression - 4]}"
    return None


def _jpeg2000(data: bytes, _unread: bool) -> str | None:
    found = re.search(rb"\xff\x4f\xff\x51.{36}(..)(.)", data, re.DOTALL)
    if found is None:
        return None
    components, bits = int.from_bytes(found[1]), (found[2][0] & 0x7F) + 1
    if components > 4:
        return f"A JPEG 2000 with {components} components"
    return f"A JPEG 2000 with {bits} bits a sample" if bits > 16 else None


_NAMERS: dict[str, Callable[[bytes, bool], str | None]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "TIFF": _tiff,
    "BMP": _bmp,
    "JPEG 2000": _jpeg2000,
}
