"""Sound files that are not decoded are named, and never called damaged."""

from __future__ import annotations

import numpy as np
import pytest

from shared.errors import ItemError
from shared.pipeline import Preprocess
from tests.support.decoding import decode
from tests.support.pictures import encoded, picture
from tools import formats
from tools.format_samples import (
    big_endian_bigtiff,
    bmp_of,
    jpeg_of,
    jpeg_of_unknown_height,
    saved,
    tiff,
    values,
)


def failure(data: bytes) -> tuple[str, str]:
    with pytest.raises(ItemError) as caught:
        decode(data, Preprocess())
    return caught.value.item_code.value, caught.value.message


@pytest.mark.filterwarnings("ignore")
def test_the_table_of_formats_is_current() -> None:
    assert formats.main(["--check"]) == 0
    assert "corrupt" not in formats.table()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (jpeg_of(0xC1, bits=12), "A JPEG with 12 bits a sample"),
        (jpeg_of(0xC2, bits=12, components=1), "A JPEG with 12 bits a sample"),
        (jpeg_of(0xC3, bits=14), "A lossless JPEG with 14 bits a sample"),
        (jpeg_of(0xCB, bits=12), "A lossless JPEG"),
        (jpeg_of(0xCD), "A hierarchical JPEG"),
        (jpeg_of(0xC0, components=2), "A JPEG with 2 components"),
        (jpeg_of(0xF7), "A JPEG-LS file"),
        (tiff(values(9, 5), 1), "A TIFF with 5 bands of 16 bits"),
        (tiff(values(9, 300), 1, ">"), "A TIFF with 300 bands of 16 bits"),
        (tiff(values(9, 3).astype(np.float32), 2), "3 bands of 32 floating-point bits"),
        (tiff(values(9, 3).astype(np.uint32), 2), "A TIFF with 3 bands of 32 bits (RGB)"),
        (tiff(values(9).astype(np.float64), 1), "1 band of 64 floating-point bits"),
        (tiff(values(9, 2), 1), "A TIFF with 2 bands of 16 bits (gray)"),
        (tiff(values(9).astype(np.int16), 1), "signed samples"),
        *(
            (tiff(values(9), 1, t258=bits), f"A TIFF with 1 band of {bits} bits (gray)")
            for bits in (3, 5, 7, 9, 11, 13, 15)
        ),
        (tiff(values(9, 4), 5, planes=2), "A TIFF with 4 bands of 16 bits (CMYK)"),
        (tiff(values(9, 3).astype(np.uint8), 6, planes=2), "3 bands of 8 bits (YCbCr)"),
        *(
            (tiff(values(9, bands).astype(kind), 1, planes=2), f"{bands} bands of")
            for bands in (2, 5)
            for kind in (np.uint8, np.uint16)
        ),
        *(
            (tiff(values(9, bands).astype(kind), 1 + bands // 3, planes=planes), "signed")
            for bands in (1, 3)
            for kind in (np.int8, np.int16)
            for planes in (1, 2)
        ),
        (tiff(values(9, 3).astype(np.float32), 2, planes=2), "3 bands of 32 floating-point"),
        *(
            (tiff(values(9, 5).astype(kind), 1, planes=2, t259=5), "A TIFF with 5 bands of")
            for kind in (np.uint8, np.uint16)
        ),
        (big_endian_bigtiff(), "A big-endian BigTIFF is not decoded: convert it to an 8-bit"),
        (jpeg_of_unknown_height(), "A JPEG whose height follows its first scan (DNL)"),
        (bmp_of(4), "A BMP that holds a JPEG"),
        (bmp_of(5), "A BMP that holds a PNG"),
        (bmp_of(4, header_bytes=64), "An OS/2 BMP with RLE24 compression"),
        (bmp_of(3, header_bytes=64), "An OS/2 BMP with Huffman compression"),
        (tiff(values(9), 1, t259=50002), "A TIFF with JPEG XL compression"),
        (tiff(values(9), 32803), "colour filter array"),
        (tiff(values(9), 32803, t50706=0x00000401), "A camera raw file"),
        (tiff(values(9), 1, t254=1, t330=8), "A camera raw file"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "requirements/heic.txt"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "requirements/heic.txt"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1vvic", "HEIF of another codec"),
        (b"\x1f\x8b\x08\0", "gzip data: unpack it, or store it with Content-Encoding: gzip."),
        (b"\x28\xb5\x2f\xfd", "zstd data: unpack it."),
        (b"\0\0\0\x14ftypqt  ", "A video (MP4 or MOV)"),
        (b"\x1a\x45\xdf\xa3", "A video (WebM or Matroska)"),
    ],
)
def test_a_variant_is_unsupported_and_named(data: bytes, name: str) -> None:
    found, message = failure(data)
    assert (found, name in message) == ("unsupported", True), message


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"<!DOCTYPE HTML><html>", "an HTML page"),
        (b"\n<html lang='en'>", "an HTML page"),
        (b"<?xml version='1.0'?><Error><Code>x</Code></Error>", "as stores answer with errors"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"%PDF-1.4", "a PDF document"),
        (b'{"error": 1}', "a JSON document"),
        (b"hello, world", "Not a known image format."),
    ],
)
def test_what_is_no_image_is_named(data: bytes, name: str) -> None:
    found, message = failure(data)
    assert (found, name in message) == ("not_an_image", True), message


@pytest.mark.parametrize("compression", ["zstd", "lzma", "tiff_lzw", "jpeg"])
def test_damage_to_a_variant_that_is_decoded_is_still_damage(compression: str) -> None:
    data = encoded(picture(200, 150), "TIFF", compression=compression)
    assert failure(data[:8] + b"\x5a" * 300 + data[308:])[0] in {"corrupt", "truncated"}


@pytest.mark.parametrize("format", ["AVIF", "JPEG2000"])
def test_an_avif_or_jpeg_2000_that_ends_early_is_truncated(format: str) -> None:
    data = saved(format)
    for kept in (len(data) // 2, len(data) - 80):
        assert failure(data[:kept])[0] == "truncated"
