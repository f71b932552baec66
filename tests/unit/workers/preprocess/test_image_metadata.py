"""Metadata never costs an image: whatever is wrong with it, the pixels are the original's."""

from __future__ import annotations

import struct
import zlib
from itertools import product
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from shared.errors import ItemError, ItemErrorCode
from shared.pipeline import Preprocess
from shared.pixels import Pixels
from tests.support.decoding import decode
from tests.support.pictures import encoded, picture
from tools.format_samples import tiff, values
from workers.preprocess.essentials import simpler

LONG = zlib.compress(bytes(3 << 20))
# How far a length may be off.
OFF_BY = (0, 3, -2, 10**4, 2**31 - 1)


def pixels(data: bytes) -> Pixels:
    return decode(data, Preprocess()).pixels


def check(data: bytes, expected: Pixels, what: object) -> None:
    assert np.array_equal(pixels(data), expected), what


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def png_chunk(kind: bytes, body: bytes, checksum: int | None, off_by: int = 0) -> bytes:
    length = max(0, len(body) + off_by)
    crc = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack("!I", length) + kind + body + struct.pack("!I", crc)


@pytest.mark.parametrize("mode", ["RGB", "P", "L"])
def test_ancillary_chunks_of_a_png(mode: str) -> None:
    data = encoded(picture().convert(mode))
    whole, pixels_at = pixels(data), data.index(b"IDAT") - 4
    kinds = b"tEXt zTXt iTXt tIME pHYs eXIf iCCP gAMA cHRM sBIT sRGB bKGD acTL fcTL fdAT tRNS prVt"
    bodies = (b"", b"abc", bytes(300), b"k\0\0" + LONG, b"k\0\1x", b"IDAT" * 10)
    for kind, body, crc, off in product(kinds.split(), bodies, (None, 7), OFF_BY):
        chunk = png_chunk(kind, body, crc, off)
        for place in (33, pixels_at, len(data) - 12):
            check(data[:place] + chunk + data[place:], whole, (kind, body[:9], crc, off, place))


def test_a_png_with_many_texts() -> None:
    data = encoded(picture())
    texts = png_chunk(b"tEXt", b"k\0" + bytes(2**20), None) * 65
    check(data[:33] + texts + data[33:], pixels(data), "texts")


@pytest.mark.parametrize("progressive", [False, True])
def test_application_segments_and_comments_of_a_jpeg(progressive: bool) -> None:
    data = encoded(picture(), "JPEG", progressive=progressive)
    whole = pixels(data)
    thumbnail = encoded(picture(16, 12), "JPEG")
    bodies = (
        *(b"", b"JFIF", b"JFIF\0\1", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff"),
        *(b"ICC_PROFILE\0", b"ICC_PROFILE\0\1", b"MPF\0", b"MPF\0II*\0\x08\0\0\0" + bytes(4)),
        *(b"Photoshop 3.0\0008BIM\x03\xed\0\0\0\0\0\x10", b"Adobe", b"Exif\0\0" + thumbnail),
        b"\0" * 60_000,
    )
    for marker, body, off in product((0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE), bodies, (0, 2, 200)):
        length = len(body) + 2 + off
        segment = struct.pack("!BBH", 0xFF, marker, length) + body
        check(data[:2] + segment + data[2:], whole, (marker, body[:16], off))
        check(data[:20] + segment + data[20:], whole, (marker, body[:16], off))


@pytest.mark.parametrize("lossless", [True, False])
def test_chunks_of_a_webp(lossless: bool) -> None:
    whole = pixels(encoded(picture(), "WEBP", lossless=lossless))
    more = {"icc_profile": b"x" * 200, "xmp": b"<x/>" * 30, "exif": orientation(1).tobytes()}
    data = encoded(picture(), "WEBP", lossless=lossless, **more)
    for kind, off in product((b"EXIF", b"ICCP", b"XMP "), (0, 1, -1, 7, 10**6, 2**31)):
        place = data.index(kind, 20) + 4
        length = struct.unpack_from("<I", data, place)[0] + off
        check(data[:place] + struct.pack("<I", length) + data[place + 4 :], whole, (kind, off))
    for flags in (0, 0x3E, 0xFF):
        check(data[:20] + bytes([flags]) + data[21:], whole, flags)
    for cut in (1, 5, 50):
        check(data[:-cut], whole, cut)


@pytest.mark.parametrize(
    "extension",
    [
        *(b"!\xfe\x03abc\0", b"!\xfe\x10abc\0", b"!\xfe\xffabc\0", b"!\xfe\0", b"!\x77\0"),
        *(b"!\xff\x0bNETSCAPE2.0\xff\1\0\0\0", b"!\xff\0", b"!\xff\x0bNET\0"),
        *(b"!\xf9\1\0\0", b"!\xf9\0", b"!\xfe\x07a,b,c,d,e\0"),
    ],
)
def test_extensions_of_a_gif(extension: bytes) -> None:
    data = encoded(picture(), "GIF")
    place = 13 + (3 << (data[10] & 7) + 1)
    check(data[:place] + extension + data[place:], pixels(data), extension)
    check(data[:-1] + extension + data[-1:], pixels(data), extension)


def with_tag(data: bytes, tag: int, kind: int, count: int, value: int) -> bytes:
    """A TIFF of Pillow's with one more tag."""
    (place,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, place)
    found = [data[place + 2 + n * 12 : place + 14 + n * 12] for n in range(entries)]
    found = [entry for entry in found if entry[:2] != struct.pack("<H", tag)]
    found.append(struct.pack("<HHII", tag, kind, count, value))
    found.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    data += bytes(len(data) % 2)
    directory = struct.pack("<H", len(found)) + b"".join(found) + bytes(4)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + directory


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
def test_tags_of_a_tiff_that_are_not_of_its_pixels(compression: str | None) -> None:
    data = encoded(picture(), "TIFF", **({"compression": compression} if compression else {}))
    whole = pixels(data)
    tags = (270, 282, 296, 306, 700, 33432, 34675, 34665, 37724, 34853, 42112, 65000)
    counts = ((1, 0), (0, 0), (100, 8), (2**31, 8), (2**32 - 1, 2**32 - 1), (4, 2**31))
    for tag, kind, (count, value) in product(tags, (0, 1, 2, 4, 5, 12, 13), counts):
        check(with_tag(data, tag, kind, count, value), whole, (tag, kind, count, value))


def test_metadata_of_a_bmp_a_jpeg_2000_and_an_avif() -> None:
    bmp = encoded(picture().convert("P"), "BMP")
    check(bmp[:46] + b"\xff\xff\xff\x12" + bmp[50:], pixels(bmp), "colours")
    jp2 = encoded(picture(), "JPEG2000")
    place = jp2.index(b"jp2h") - 4
    for box in (b"\0\0\0\7uuid", b"\0\0\0\1xml " + b"\xff" * 8, b"\xff\xff\xff\xffres ab"):
        check(jp2[:place] + box + jp2[place:], pixels(jp2), box)
    exif = orientation(1)
    exif[0x010E] = "a description"
    avif = encoded(picture(), "AVIF", exif=exif.tobytes(), xmp=b"<x/>")
    place = avif.index(b"MM\0*")
    check(avif[:place] + b"junk" + avif[place + 4 :], pixels(encoded(picture(), "AVIF")), "exif")


def test_the_turn_survives_damage_beside_it() -> None:
    exif = orientation(6)
    png, jpeg = encoded(picture(), exif=exif), encoded(picture(), "JPEG", exif=exif)
    text = png_chunk(b"tEXt", b"k\0v", 7)
    check(png[:33] + text + png[33:], pixels(png), "png")
    segment = b"\xff\xe2\0\x12MPF\0II*\0\x08\0\0\0\0\1" + b"\0\0"
    check(jpeg[:2] + segment + jpeg[2:], pixels(jpeg), "jpeg")
    assert pixels(png).shape == pixels(jpeg).shape == (64, 48, 3)


def test_a_png_without_its_palette_is_damaged() -> None:
    data = encoded(picture().convert("P"))
    for kind in (b"PlTE", b"vLTE"):
        with pytest.raises(ItemError) as caught:
            decode(data.replace(b"PLTE", kind), Preprocess())
        assert caught.value.item_code is ItemErrorCode.CORRUPT


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF", "JPEG 2000"])
def test_a_sound_file_is_tried_once(format: str) -> None:
    data = encoded(picture(), format.replace(" ", ""))
    with mock.patch.object(Image, "open", side_effect=Image.open) as opened:
        decode(data, Preprocess())
    assert opened.call_count == 1
    assert all(len(one) <= len(data) for one in simpler(format, data))


def test_what_cannot_be_simplified_is_not_tried_again() -> None:
    assert list(simpler("PNG", encoded(picture()))) == []
    assert list(simpler("GIF", b"GIF89a")) == []
    assert list(simpler("TIFF", tiff(values(9), 1)[:100])) == []
