"""How files begin: which format the bytes claim to be, and whether it is decoded here."""

from __future__ import annotations

import re
from importlib.util import find_spec

from shared.errors import ItemError, ItemErrorCode

# Our names of the formats that are decoded, and Pillow's. A parser of a rare format is a door that
# nobody needs open.
_PILLOW_NAMES = {
    "JPEG": "JPEG",
    "PNG": "PNG",
    "WEBP": "WEBP",
    "GIF": "GIF",
    "BMP": "BMP",
    "TIFF": "TIFF",
    "AVIF": "AVIF",
    "JPEG 2000": "JPEG2000",
}
HEIC = "HEIC"
# Its decoder is under the LGPL, so the user installs it: requirements/heic.txt.
DECODES_HEIC = find_spec("pi_heif") is not None
if DECODES_HEIC:
    _PILLOW_NAMES[HEIC] = "HEIF"

_IMAGES = (
    ("JPEG", rb"\xff\xd8"),
    ("PNG", rb"\x89PNG"),
    ("WEBP", rb"RIFF.{4}WEBP"),
    ("GIF", rb"GIF8[79]a"),
    ("BMP", rb"BM(?:.{4}\0{4}|.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0{3})"),
    ("Canon raw (CR2)", rb"II\*\0.{4}CR\x02"),
    ("TIFF", rb"II[*+]\0|MM\0[*+]|II\0\*|MM\*\0"),
    ("JPEG 2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    ("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL "),
    ("ICO", rb"\0\0[\x01\x02]\0[^\0]\0"),
    ("Photoshop (PSD)", rb"8BPS"),
    ("Netpbm", rb"P[1-7fF]\s"),
    ("DDS", rb"DDS "),
    ("QOI", rb"qoif"),
    ("OpenEXR", rb"\x76\x2f\x31\x01"),
    ("Radiance HDR", rb"#\?RA(?:DIANC|NC)E"),
    ("PCX", rb"\x0a[\0\x02-\x05]\x01[\x01\x02\x04\x08]"),
    ("ICNS", rb"icns"),
    ("MNG", rb"[\x8a\x8b][MJ]NG"),
    ("EPS", rb"%!PS|\xc5\xd0\xd3\xc6"),
    ("XPM", rb"/\* XPM \*/"),
    ("FITS", rb"SIMPLE  ="),
    ("JPEG XR", rb"II\xbc[\0\x01]"),
    ("BPG", rb"BPG\xfb"),
    ("FLIF", rb"FLIF[1-d]"),
    ("GIMP (XCF)", rb"gimp xcf "),
    ("SGI", rb"\x01\xda[\0\x01][\x01\x02]\0[\x01-\x03]"),
    ("Sun raster", rb"\x59\xa6\x6a\x95"),
    ("DjVu", rb"AT&TFORM"),
    ("DICOM", rb".{128}DICM"),
    ("WMF", rb"\xd7\xcd\xc6\x9a"),
    ("EMF", rb"\x01\0\0\0.{36} EMF"),
    (
        "Camera raw",
        rb"II\x1a\0\0\0HEAPCCDR|FUJIFILMCCD-RAW|IIU\0|IIR[OS]|MMOR|FOVb|\0MRM|.{4}ftypcrx ",
    ),
    ("TGA", rb".[\0\1][\1-\3\x09-\x0b].{13}[\x08\x0f\x10\x18\x20][\0-\x3f]"),
    ("SVG", rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.{0,2000})?<svg[\s>]"),
)
_VIDEOS = (
    ("MP4 or MOV", rb".{4}(?:ftyp|moov|mdat|free|wide|skip)"),
    ("WebM or Matroska", rb"\x1a\x45\xdf\xa3"),
    ("AVI", rb"RIFF.{4}AVI "),
    ("MPEG", rb"\0\0\x01[\xb3\xba]"),
    ("FLV", rb"FLV\x01"),
    ("WMV", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
)
_PACKED = (
    ("gzip", rb"\x1f\x8b\x08"),
    ("zstd", rb"\x28\xb5\x2f\xfd"),
    ("bzip2", rb"BZh[1-9]1AY&SY"),
    ("xz", rb"\xfd7zXZ\0"),
    ("lz4", rb"\x04\x22\x4d\x18"),
)
_OTHERS = (
    ("an HTML page", rb"(?i:(?:\xef\xbb\xbf)?\s*(?:<!--.{0,2000}-->\s*)?<(?:!doctype html|html))"),
    ("an XML document, as stores answer with errors", rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|Error>)"),
    ("a JSON document", rb"\s*[{\[]\s*[\"{\[\]}]"),
    ("a ZIP archive", rb"PK(?:\x03\x04|\x05\x06|\x07\x08)"),
    ("a PDF document", rb"%PDF-"),
    ("a RAR archive", rb"Rar!\x1a\x07"),
    ("a 7z archive", rb"7z\xbc\xaf\x27\x1c"),
    ("a tar archive", rb".{257}ustar"),
    ("an Office document of before 2007", rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ("a Git LFS pointer: fetch the file itself", rb"version https://git-lfs"),
    ("a resource fork of macOS (._ file)", rb"\0\x05\x16\x07\0\x02"),
    ("sound", rb"RIFF.{4}WAVE|ID3|OggS|fLaC|FORM.{4}AIF"),
    ("a Parquet file", rb"PAR1"),
    ("nothing but zeros at its start", rb"\0{64}"),
)


def _patterns(table: tuple[tuple[str, bytes], ...]) -> list[tuple[str, re.Pattern[bytes]]]:
    return [(name, re.compile(pattern, re.DOTALL)) for name, pattern in table]


_IMAGE_PATTERNS, _VIDEO_PATTERNS = _patterns(_IMAGES), _patterns(_VIDEOS)
_PACKED_PATTERNS, _OTHER_PATTERNS = _patterns(_PACKED), _patterns(_OTHERS)

_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))


def format_of(data: bytes) -> str:
    """The format that ``data`` begins as, one that is decoded.

    Raises ItemError for what is not decoded: an image of another format, or no image.
    """
    name = _container(data) or _first(_IMAGE_PATTERNS, data)
    if name in _PILLOW_NAMES:
        return name
    if name == HEIC:
        raise _unsupported(
            "HEIC is decoded where the packages of requirements/heic.txt are installed too: see "
            "docs/FORMATS.md."
        )
    if name is not None:
        raise undecoded(name)
    if video := _first(_VIDEO_PATTERNS, data):
        raise _unsupported(f"A video ({video}): only images are decoded.")
    if packed := _first(_PACKED_PATTERNS, data):
        stored = ", or store it with Content-Encoding: gzip" if packed == "gzip" else ""
        raise _unsupported(f"{packed} data: unpack it{stored}.")
    if other := _first(_OTHER_PATTERNS, data):
        raise ItemError(ItemErrorCode.NOT_AN_IMAGE, f"Not an image: {other}.")
    raise ItemError(ItemErrorCode.NOT_AN_IMAGE, "Not a known image format.")


def pillow_name(name: str) -> str:
    """What Pillow calls the format."""
    return _PILLOW_NAMES[name]


def _container(data: bytes) -> str | None:
    """AVIF and HEIC share a container; the brands in its first box tell them apart."""
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4]), 512)
    brands = {data[place : place + 4] for place in (8, *range(16, end, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    if brands & _HEIC_BRANDS:
        return HEIC
    return "HEIF of another codec" if brands & {b"mif1", b"msf1"} else None


def _first(patterns: list[tuple[str, re.Pattern[bytes]]], data: bytes) -> str | None:
    return next((name for name, pattern in patterns if pattern.match(data)), None)


def undecoded(kind: str) -> ItemError:
    """Of a sound file of a ``kind`` that is not decoded."""
    return _unsupported(f"{kind} is not decoded: convert it to an 8-bit JPEG or PNG.")


def _unsupported(message: str) -> ItemError:
    return ItemError(ItemErrorCode.UNSUPPORTED, message)
