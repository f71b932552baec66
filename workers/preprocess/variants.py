"""Sound files of kinds that are not decoded here, by name."""

from __future__ import annotations

import struct
from collections.abc import Callable

from workers.preprocess.jpeg2000 import jpeg2000_header
from workers.preprocess.jpeg_segments import FRAMES, SCAN, segments
from workers.preprocess.tiff_tags import Tags, first_tags

_LOSSLESS = frozenset((0xC3, 0xC7, 0xCB, 0xCF))
_HIERARCHICAL = frozenset((0xC5, 0xC6, 0xCD, 0xCE))
_HIERARCHY, _JPEG_LS = 0xDE, 0xF7
_HEIGHT_AFTER_SCAN = b"\xff\xdc\0\4"
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
_DEPTHS = frozenset((*range(1, 17), 24, 32, 64, 128))
_OS2_HEADER_BYTES = 64
_OS2_BMP = {3: "An OS/2 BMP with Huffman compression", 4: "An OS/2 BMP with RLE24 compression"}
_BMP = {4: "A BMP that holds a JPEG", 5: "A BMP that holds a PNG"}
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
    for marker, body in segments(data):
        if marker == _JPEG_LS:
            return "A JPEG-LS file"
        if marker in FRAMES or marker == _HIERARCHY:
            has_height = body[1:3] != b"\0\0" or _HEIGHT_AFTER_SCAN not in data
            return _jpeg_frame(marker, body[0], body[5]) or (
                None if has_height else "A JPEG whose height follows its first scan (DNL)"
            )
        if marker == SCAN:
            break
    return None


def _jpeg_frame(marker: int, bits: int, components: int) -> str | None:
    if marker in _LOSSLESS and bits in _JPEG_DEPTHS:
        return f"A lossless JPEG with {bits} bits a sample"
    if (marker in _HIERARCHICAL or marker == _HIERARCHY) and bits in {8, 12}:
        return "A hierarchical JPEG"
    if bits == 12:
        return "A JPEG with 12 bits a sample"
    if bits == 8 and components == 2:
        return "A JPEG with 2 components"
    return None


def _png(data: bytes, _unread: bool) -> str | None:
    return "A PNG of Apple's own kind (CgBI, as in iOS apps)" if data[12:16] == b"CgBI" else None


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
    if data.startswith(b"MM\0+"):
        return "A big-endian BigTIFF"
    if compression not in _DECODED_COMPRESSIONS:
        return f"A TIFF with {_COMPRESSIONS[compression]} compression"
    return _layout(colour, bits, samples, kinds) if unread else None


def misread(name: str, data: bytes) -> str | None:
    """What kind this is, if it is one of which wrong pixels would be decoded."""
    tags = first_tags(data) if name == "TIFF" else None
    if tags is None:
        return None
    if _begins_with_preview(tags):
        return _CAMERA_RAW
    colour, bits, samples = tags.one(262, 0), tags.all(258, (1,)), tags.one(277, 1)
    kinds = tags.all(339, (1,))
    is_signed = kinds[0] == 2 and bits[0] == 8
    are_packed_planes = tags.one(284, 1) == 2 and tags.one(259, 1) != 1 and samples > 4
    if colour in _COLOURS and kinds[0] in _SAMPLES and (is_signed or are_packed_planes):
        return _layout(colour, bits, samples, kinds)
    return None


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
    kinds = _OS2_BMP if data[14] == _OS2_HEADER_BYTES else _BMP
    return kinds.get(compression) if data[14] >= 40 else None


def _jpeg2000(data: bytes, _unread: bool) -> str | None:
    header = jpeg2000_header(data)
    if header is None:
        return None
    if header.components > 4:
        return f"A JPEG 2000 with {header.components} components"
    return f"A JPEG 2000 with {header.bits} bits a sample" if header.bits > 16 else None


_NAMERS: dict[str, Callable[[bytes, bool], str | None]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "TIFF": _tiff,
    "BMP": _bmp,
    "JPEG 2000": _jpeg2000,
}
