"""One small file of each format and variant, made on the spot, for docs/FORMATS.md and its test."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]
SIDE = 32


@dataclass(frozen=True, slots=True)
class Sample:
    """``make`` gives the file."""

    format: str
    variant: str
    make: Callable[[], bytes]


def picture(mode: str = "RGB") -> Image.Image:
    """A gradient in every mode."""
    ramp = np.arange(SIDE * SIDE * 3, dtype=np.uint32).reshape(SIDE, SIDE, 3) % 256
    return Image.fromarray(ramp.astype(np.uint8)).convert(mode)


def saved(format: str, mode: str = "RGB", **options: Any) -> bytes:
    """What Pillow writes."""
    sink = io.BytesIO()
    picture(mode).save(sink, format, **options)
    return sink.getvalue()


def animated(format: str, **options: Any) -> bytes:
    """Three frames or pages."""
    return saved(format, save_all=True, append_images=[picture("L"), picture("1")], **options)


def png_chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    """A chunk, with a wrong checksum where one is given."""
    crc = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack("!I", len(body)) + kind + body + struct.pack("!I", crc)


def png_with(*chunks: bytes) -> bytes:
    """A PNG with more chunks behind its header."""
    data = saved("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def png16(samples: Array) -> bytes:
    """``samples``: uint16 (h, w, channels)."""
    height, width, channels = samples.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack("!IIBBBBB", width, height, 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def png_of_apple() -> bytes:
    """As Xcode packs them into apps: deflated without the header of zlib."""
    deflate = zlib.compressobj(wbits=-15)
    body = deflate.compress(bytes((SIDE * 4 + 1) * SIDE)) + deflate.flush()
    header = struct.pack("!IIBBBBB", SIDE, SIDE, 8, 6, 0, 0, 0)
    chunks = ((b"CgBI", b"\x50\0\x20\2"), (b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def tiff(samples: Array, colour: int, order: Literal["<", ">"] = "<", **tags: int) -> bytes:
    """An uncompressed TIFF of any layout. ``tags`` by number, as ``t259=…``, replace or add to its
    own; ``planes=2`` lays it plane by plane."""
    height, width, bands = samples.shape
    planes = tags.pop("planes", 1)
    typed = samples.astype(samples.dtype.newbyteorder(order))
    strips = [typed[:, :, band].tobytes() for band in range(bands)] if planes == 2 else []
    strips = strips or [typed.tobytes()]
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    fields = {256: [width], 257: [height], 258: [samples.dtype.itemsize * 8] * bands, 259: [1]}
    fields |= {262: [colour], 273: [], 277: [bands], 278: [height], 284: [planes]}
    fields |= {279: [len(strip) for strip in strips], 339: [kind] * bands}
    fields |= {int(name[1:]): [value] for name, value in tags.items()}
    body = (b"II*\0" if order == "<" else b"MM\0*") + bytes(4)
    for strip in strips:
        fields[273].append(len(body))
        body += strip + bytes(len(strip) % 2)
    entries = b""
    for tag, values in sorted(fields.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        place = packed
        if len(packed) > 4:
            place = struct.pack(order + "I", len(body))
            body += packed
        entries += struct.pack(order + "HHI", tag, 4, len(values)) + place
    directory = struct.pack(order + "H", len(fields)) + entries + bytes(4)
    return body[:4] + struct.pack(order + "I", len(body)) + body[8:] + directory


def jpeg_of(marker: int, bits: int = 8, components: int = 3) -> bytes:
    """A JPEG's header of a kind that Pillow does not write."""
    parts = b"".join(bytes([index, 0x11, 0]) for index in range(1, components + 1))
    frame = struct.pack("!BHHB", bits, SIDE, SIDE, components) + parts
    segment = bytes([0xFF, marker]) + struct.pack("!H", len(frame) + 2) + frame
    scan = b"\xff\xda\0\x08\1\1\0\0\x3f\0" + bytes(64)
    return b"\xff\xd8" + segment + scan + b"\xff\xd9"


def tiled_tiff() -> bytes:
    """One tile, uncompressed."""
    strips = tiff(values(200).astype(np.uint8), 1, t322=SIDE, t323=SIDE)
    for strip, tile in (
        (273, 324),
        (279, 325),
    ):  # offsets and sizes of strips become those of tiles
        entry = struct.pack("<HHI", strip, 4, 1)
        strips = strips.replace(entry, struct.pack("<HHI", tile, 4, 1))
    return strips


def big_endian_bigtiff() -> bytes:
    """Pillow writes none, and reads none."""
    pixels, place = values(200).astype(np.uint8).tobytes(), 16
    tags = {256: SIDE, 257: SIDE, 258: 8, 259: 1, 262: 1, 273: place, 277: 1, 278: SIDE}
    tags[279] = len(pixels)
    entries = b"".join(
        struct.pack(">HHQI4x", tag, 4, 1, value) for tag, value in sorted(tags.items())
    )
    start = struct.pack(">4sHHQ", b"MM\0+", 8, 0, place + len(pixels))
    return start + pixels + struct.pack(">Q", len(tags)) + entries + bytes(8)


def bmp_of(compression: int, header_bytes: int = 40) -> bytes:
    """A BMP that says that its pixels are compressed."""
    data = bytearray(saved("BMP"))
    data[14], data[30] = header_bytes, compression
    return bytes(data[:54]) + bytes(header_bytes - 40) + bytes(data[54:])


def rle_bmp() -> bytes:
    """8 bits, each row a run of one colour."""
    rows = b"".join(bytes((SIDE, row, 0, 0)) for row in range(SIDE)) + b"\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 8, 1, len(rows), 0, 0, 256, 0)
    palette = bytes(value for level in range(256) for value in (level, level, level, 0))
    start = 14 + len(head) + len(palette)
    return struct.pack("<2sIII", b"BM", start + len(rows), 0, start) + head + palette + rows


def jpeg_of_unknown_height() -> bytes:
    """Its height is 0, and follows the scan (DNL)."""
    data = saved("JPEG")
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + bytes(2) + data[place + 2 : -2] + b"\xff\xdc\0\4\0\x20\xff\xd9"


def jpeg2000(bits: int, top: int) -> bytes:
    """Gray up to ``top``, as a codestream that declares ``bits``."""
    sink = io.BytesIO()
    kind, written_bits = (np.uint8, 8) if bits <= 8 else (np.uint16, 16)
    # Its samples are stored less half of their range.
    samples = values(top)[:, :, 0].astype(np.int32) + (1 << written_bits - 1) - (1 << bits - 1)
    Image.fromarray(samples.astype(kind)).save(sink, "JPEG2000", no_jp2=True)
    data = bytearray(sink.getvalue())
    data[42] = bits - 1
    return bytes(data)


def garbled_png() -> bytes:
    """Whose pixels have a wrong checksum."""
    data = saved("PNG")
    place = data.index(b"IEND") - 8
    return data[:place] + b"\0\0\0\0" + data[place + 4 :]


def values(top: int, channels: int = 1) -> Array:
    """uint16 up to ``top``."""
    count = SIDE * SIDE * channels
    return np.linspace(0, top, count).astype(np.uint16).reshape(SIDE, SIDE, channels)


def zipped() -> bytes:
    """An archive of one file."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("image.png", b"x")
    return sink.getvalue()


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


_TIFF_COMPRESSIONS = {
    "LZW": "tiff_lzw",
    "Deflate": "tiff_adobe_deflate",
    "PackBits": "packbits",
    "JPEG": "jpeg",
    "Zstandard": "zstd",
    "LZMA": "lzma",
}

_PLAIN: dict[str, dict[str, Callable[[], bytes]]] = {
    "JPEG": {
        "baseline": lambda: saved("JPEG"),
        "progressive": lambda: saved("JPEG", progressive=True),
        "gray": lambda: saved("JPEG", "L"),
        "CMYK": lambda: saved("JPEG", "CMYK"),
        "turned by its EXIF orientation: upright": lambda: saved("JPEG", exif=_exif()),
        "several pictures (MPO): the first": lambda: animated("MPO"),
        "damaged EXIF": lambda: saved("JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"),
        "12 bits a sample": lambda: jpeg_of(0xC1, bits=12),
        "lossless": lambda: jpeg_of(0xC3, bits=16, components=1),
        "hierarchical": lambda: jpeg_of(0xC5),
        "two components": lambda: jpeg_of(0xC0, components=2),
        "height that follows the scan (DNL)": jpeg_of_unknown_height,
        "JPEG-LS": lambda: jpeg_of(0xF7),
        "cut": lambda: saved("JPEG")[:-80],
    },
    "PNG": {
        **{
            f"{name}": partial(saved, "PNG", mode)
            for name, mode in (("1 bit", "1"), ("gray", "L"), ("palette", "P"), ("colour", "RGB"))
        },
        "with transparency, which is left out": lambda: saved("PNG", "RGBA"),
        "16 bits gray": lambda: png16(values(65535)),
        "16 bits colour with alpha": lambda: png16(values(65535, 4)),
        "12 bits in 16": lambda: png16(values(4095, 3)),
        "animated (APNG): the first frame": lambda: animated("PNG"),
        "damaged text, profile or time": lambda: png_with(png_chunk(b"tEXt", b"a\0b", 1)),
        "text of any length": lambda: png_with(png_chunk(b"zTXt", b"a\0\0" + _zeros())),
        "Apple's own (CgBI)": png_of_apple,
        "garbled": garbled_png,
        "cut": lambda: saved("PNG")[:-40],
    },
    "WEBP": {
        "lossy": lambda: saved("WEBP"),
        "lossless": lambda: saved("WEBP", lossless=True),
        "with transparency, which is left out": lambda: saved("WEBP", "RGBA"),
        "animated: the first frame": lambda: animated("WEBP"),
    },
    "GIF": {
        "still": lambda: saved("GIF"),
        "animated: the first frame": lambda: animated("GIF"),
    },
    "BMP": {
        "1 to 8 bits": lambda: saved("BMP", "P"),
        "24 bits": lambda: saved("BMP"),
        "32 bits": lambda: saved("BMP", "RGBA"),
        "RLE": rle_bmp,
        "OS/2, RLE24": lambda: bmp_of(4, header_bytes=64),
        "that holds a JPEG": lambda: bmp_of(4),
    },
    "TIFF": {
        "uncompressed": lambda: saved("TIFF"),
        **{
            name: partial(saved, "TIFF", compression=value)
            for name, value in _TIFF_COMPRESSIONS.items()
        },
        "CCITT group 4": lambda: saved("TIFF", "1", compression="group4"),
        "CMYK": lambda: saved("TIFF", "CMYK"),
        "BigTIFF": lambda: saved("TIFF", big_tiff=True),
        "big-endian BigTIFF": big_endian_bigtiff,
        "tiled": tiled_tiff,
        "several pages: the first": lambda: animated("TIFF"),
        "16 bits gray": lambda: tiff(values(65535), 1),
        "16 bits colour": lambda: tiff(values(65535, 3), 2),
        "16 bits colour, plane by plane": lambda: tiff(values(65535, 3), 2, ">", planes=2),
        "12 bits in 16": lambda: tiff(values(4095), 1),
        "damaged tags": lambda: tiff(values(65535), 1, t305=2**32 - 1, t33432=2**31),
        "more bands than colours": lambda: tiff(values(65535, 5), 1),
        "3, 5, 7, 9, 11, 13 or 15 bits gray": lambda: tiff(values(9), 1, t258=9),
        "signed": lambda: tiff(values(100).astype(np.int8), 1),
        "32 bits gray": lambda: saved("TIFF", "I"),
        "floating-point gray": lambda: saved("TIFF", "F"),
        "floating-point colour": lambda: tiff(values(1, 3).astype(np.float32), 2),
        "CIELAB": lambda: tiff(values(255, 3).astype(np.uint8), 8),
        "WebP compression": lambda: tiff(values(9), 1, t259=50001),
        "JBIG, LERC, JPEG 2000 or JPEG XL compression": lambda: tiff(values(9), 1, t259=34887),
        "camera raw (DNG, NEF, ARW)": lambda: tiff(values(9), 1, t254=1, t330=8),
    },
    "AVIF": {
        "still": lambda: saved("AVIF"),
        "with transparency, which is left out": lambda: saved("AVIF", "RGBA"),
        "sequence: the first frame": lambda: animated("AVIF"),
        "cut": lambda: saved("AVIF")[:-40],
    },
    "JPEG 2000": {
        "JP2": lambda: saved("JPEG2000"),
        "codestream": lambda: saved("JPEG2000", no_jp2=True),
        "gray": lambda: saved("JPEG2000", "L"),
        "lossy": lambda: saved("JPEG2000", irreversible=True),
        "4 bits gray": lambda: jpeg2000(4, 15),
        "12 bits gray": lambda: jpeg2000(12, 4095),
        "16 bits gray": lambda: jpeg2000(16, 65535),
        "cut": lambda: saved("JPEG2000")[:-200],
    },
}
_OTHERS = {
    "JPEG XL": b"\xff\x0a",
    "Camera raw (CR2)": b"II*\0\x10\0\0\0CR\2\0",
    "Camera raw (CR3)": b"\0\0\0\x18ftypcrx ",
    "Photoshop (PSD)": b"8BPS\0\1",
    "ICO": b"\0\0\1\0\1\0",
    "TGA": b"\0\0\2" + bytes(9) + b"\x20\0\x20\0\x18\0",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "Netpbm": b"P6\n1 1\n255\n\1\2\3",
    "OpenEXR": b"\x76\x2f\x31\x01",
    "DICOM": bytes(128) + b"DICM",
    "MP4 or MOV": b"\0\0\0\x18ftypisom",
    "WebM": b"\x1a\x45\xdf\xa3",
    "zstd": b"\x28\xb5\x2f\xfd",
    "bzip2": b"BZh91AY&SY",
    "PDF": b"%PDF-1.7\n",
    "HTML": b"<!DOCTYPE html><html>",
    "Answer of a store": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "JSON": b'{"error": 1}',
    "Text": b"hello",
}


def _zeros() -> bytes:
    return zlib.compress(bytes(3 * 2**20), 9)


def samples() -> Iterator[Sample]:
    """All of them, in the order of the table."""
    for format, variants in _PLAIN.items():
        for variant, make in variants.items():
            yield Sample(format, variant, make)
    yield Sample("gzip", "of anything", lambda: gzip.compress(saved("PNG"), mtime=0))
    yield Sample("ZIP", "", zipped)
    for format, start in _OTHERS.items():
        yield Sample(format, "", partial(bytes, start))
