"""Decoding: every format, mode and orientation to upright RGB; every damage to one code."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.errors import ItemError, ItemErrorCode
from shared.item import ItemFailure
from shared.pipeline import Preprocess
from tests.support.decoding import decode
from tests.support.pictures import difference, encoded, picture
from workers.preprocess import jpeg
from workers.preprocess.decode import Decoded

PREPROCESS = Preprocess()
LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {}, "WEBP": {"lossless": True}}
FORMATS = [*LOSSLESS, "JPEG", "GIF"]


def failure(data: bytes, preprocess: Preprocess = PREPROCESS) -> ItemFailure:
    with pytest.raises(ItemError) as caught:
        decode(data, preprocess)
    found = ItemFailure.of(caught.value.item_code, caught.value.message)
    assert found.error_message
    assert "0x" not in found.error_message  # no addresses: the same image fails in the same words
    return found


def code(data: bytes, preprocess: Preprocess = PREPROCESS) -> ItemErrorCode:
    return failure(data, preprocess).error_code


def check(decoded: Decoded) -> None:
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.ndim == 3
    assert decoded.pixels.shape[2] == 3
    assert decoded.pixels.flags.c_contiguous


@pytest.mark.parametrize("format", FORMATS)
def test_every_format(format: str) -> None:
    decoded = decode(encoded(picture(), format, **LOSSLESS.get(format, {})), PREPROCESS)
    check(decoded)
    assert (decoded.width, decoded.height) == (64, 48)
    assert difference(decoded.pixels, picture()) <= (0 if format in LOSSLESS else 8)


@pytest.mark.parametrize(
    ("mode", "format"),
    [
        *((mode, "PNG") for mode in ("1", "L", "LA", "P", "RGBA")),
        *((mode, "TIFF") for mode in ("CMYK", "YCbCr", "LA", "P", "RGBA")),
        *((mode, "JPEG") for mode in ("L", "CMYK")),
        *((mode, "GIF") for mode in ("P", "L")),
        ("RGBA", "WEBP"),
    ],
)
def test_every_mode_becomes_rgb_as_convert_makes_it(mode: str, format: str) -> None:
    image = picture().convert(mode)
    if "A" in mode:
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    decoded = decode(encoded(image, format, **options), PREPROCESS)
    check(decoded)
    assert difference(decoded.pixels, image.convert("RGB")) <= (3 if format == "JPEG" else 0)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped(format: str) -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    decoded = decode(encoded(Image.fromarray(ramp), format), PREPROCESS)
    check(decoded)
    assert np.array_equal(decoded.pixels, np.repeat((ramp >> 8)[:, :, np.newaxis], 3, axis=2))


def test_floats_have_no_agreed_range() -> None:
    floats = Image.fromarray(np.ones((4, 4), np.float32))
    assert code(encoded(floats, "TIFF")) is ItemErrorCode.UNSUPPORTED


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_gives_the_upright_picture(format: str, orientation: int) -> None:
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = picture().transpose(turns[orientation]) if orientation in turns else picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encoded(stored, format, exif=exif, **LOSSLESS.get(format, {})), PREPROCESS)
    check(decoded)
    assert (decoded.width, decoded.height) == (64, 48)
    assert difference(decoded.pixels, picture()) <= (0 if format in LOSSLESS else 8)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0junk"])
def test_damaged_metadata_does_not_cost_the_image(exif: bytes) -> None:
    assert decode(encoded(picture(), "JPEG", exif=exif), PREPROCESS).width == 64


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_is_none_is_upright(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert decode(encoded(picture(), "JPEG", exif=exif), PREPROCESS).width == 64


@pytest.mark.parametrize(
    ("size", "scaled"),
    [
        ((400, 300), (400, 300)),
        ((511, 900), (511, 900)),
        ((1023, 1200), (1023, 1200)),
        ((1025, 1024), (513, 512)),
        ((2100, 1500), (1050, 750)),
        ((4100, 4096), (513, 512)),
        ((9000, 4096), (1125, 512)),
        ((20000, 3), (20000, 3)),
    ],
)
def test_large_jpegs_are_halved_to_twice_the_target_and_no_further(
    size: tuple[int, int], scaled: tuple[int, int]
) -> None:
    decoded = decode(encoded(Image.new("RGB", size), "JPEG"), PREPROCESS)
    assert (decoded.width, decoded.height) == size
    assert decoded.pixels.shape[1::-1] == scaled


def test_what_the_fast_decoder_refuses_pillow_decodes() -> None:
    data = encoded(picture(), "JPEG")
    with mock.patch.object(simplejpeg, "decode_jpeg", side_effect=ValueError("no")):
        slow = decode(data, PREPROCESS)
    assert difference(slow.pixels, decode(data, PREPROCESS).pixels) == 0


def test_a_jpeg_whose_header_reads_otherwise_never_meets_the_fast_decoder() -> None:
    with (
        mock.patch.object(simplejpeg, "decode_jpeg_header", return_value=(60000, 60000)),
        mock.patch.object(simplejpeg, "decode_jpeg") as fast,
    ):
        assert decode(encoded(picture(), "JPEG"), PREPROCESS).width == 64
    fast.assert_not_called()


def test_extra_bytes_before_a_marker_do_not_cost_the_image() -> None:
    data = encoded(picture(), "JPEG")
    odd = data[:-2] + b"\0\0\0" + data[-2:]
    with pytest.raises(ValueError):
        simplejpeg.decode_jpeg(odd)
    assert decode(odd, PREPROCESS).width == 64


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kept", [0.5, 0.95])
def test_an_image_that_ends_early_is_truncated(format: str, kept: float) -> None:
    noise = Image.effect_noise((200, 150), 90).convert("RGB")
    data = encoded(noise, format, **({"compression": "tiff_lzw"} if format == "TIFF" else {}))
    assert code(data[: int(len(data) * kept)]) is ItemErrorCode.TRUNCATED


def spoilt(data: bytes, marker: bytes, distance: int, replacement: bytes) -> bytes:
    """``data`` with other bytes at some distance from where ``marker`` begins."""
    place = data.index(marker) + distance
    return data[:place] + replacement + data[place + len(replacement) :]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (spoilt(encoded(picture(), "PNG"), b"IHDR", 12, b"\x63"), ItemErrorCode.CORRUPT),
        (spoilt(encoded(picture(), "JPEG"), b"\xff\xc0", 4, b"\x63"), ItemErrorCode.CORRUPT),
        (spoilt(encoded(picture(), "PNG"), b"IDAT", 20, b"\xff" * 8), ItemErrorCode.CORRUPT),
        (b"some text, and long enough to be a picture " * 10, ItemErrorCode.NOT_AN_IMAGE),
        (b"", ItemErrorCode.NOT_AN_IMAGE),
        (b"\0" * 1000, ItemErrorCode.NOT_AN_IMAGE),
        (b"%PDF-1.7\n", ItemErrorCode.NOT_AN_IMAGE),
        (b"PK\x03\x04" + b"\0" * 40, ItemErrorCode.NOT_AN_IMAGE),
        (b"P6\n1 1\n255\n\1\2\3", ItemErrorCode.UNSUPPORTED),
        (encoded(picture(), "ICO"), ItemErrorCode.UNSUPPORTED),
        (encoded(picture(), "PPM"), ItemErrorCode.UNSUPPORTED),
        (encoded(picture(), "PCX"), ItemErrorCode.UNSUPPORTED),
        (encoded(picture(), "DDS"), ItemErrorCode.UNSUPPORTED),
        (b"\0\0\0\x1cftypheic" + b"\0" * 20, ItemErrorCode.UNSUPPORTED),
        (b"8BPS\0\1" + b"\0" * 20, ItemErrorCode.UNSUPPORTED),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", ItemErrorCode.UNSUPPORTED),
        (b"<?xml version='1.0'?>\n<html/>", ItemErrorCode.NOT_AN_IMAGE),
    ],
)
def test_every_damage_has_its_code(data: bytes, expected: ItemErrorCode) -> None:
    assert code(data) is expected


def test_a_bomb_is_refused_by_its_header() -> None:
    small = Preprocess(max_pixels=64 * 48 - 1)
    assert code(encoded(picture(), "PNG"), small) is ItemErrorCode.BOMB
    assert code(encoded(picture(), "JPEG"), small) is ItemErrorCode.BOMB
    assert decode(encoded(picture()), Preprocess(max_pixels=64 * 48)).width == 64
    claims = spoilt(encoded(Image.new("L", (8, 8)), "JPEG"), b"\xff\xc0", 5, b"\xff\xdc\xff\xdc")
    with mock.patch.object(jpeg, "decode_jpeg", side_effect=AssertionError("decoded")):
        assert code(claims) is ItemErrorCode.BOMB


def test_a_side_longer_than_a_message_may_say_is_a_bomb() -> None:
    assert code(encoded(Image.new("1", (10**6 + 1, 1)))) is ItemErrorCode.BOMB


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError("deep"), SystemError("odd"), AssertionError()]
)
def test_no_exception_of_a_decoder_escapes(error: Exception) -> None:
    with mock.patch.object(Image.Image, "convert", side_effect=error):
        expected = ItemErrorCode.BOMB if isinstance(error, MemoryError) else ItemErrorCode.CORRUPT
        assert code(encoded(picture())) is expected


SAMPLES = [encoded(picture(), format) for format in FORMATS]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*SAMPLES, b""]), st.data())
def test_damage_of_any_kind_gives_pixels_or_an_item_error(
    sample: bytes, data: st.DataObject
) -> None:
    """Random bytes, truncations, and files with some bytes replaced."""
    kept = data.draw(st.integers(0, len(sample)))
    damaged = bytearray(sample[:kept] + data.draw(st.binary(max_size=64)))
    for place in data.draw(st.lists(st.integers(0, max(0, len(damaged) - 1)), max_size=6)):
        if damaged:
            damaged[place] = data.draw(st.integers(0, 255))
    try:
        check(decode(bytes(damaged), Preprocess(max_pixels=10**6)))
    except ItemError as error:
        ItemFailure.of(error.item_code, error.message)


@pytest.mark.shared_data
def test_nine_hundred_odd_files(shared_data: Path) -> None:
    for path in sorted((shared_data / "corrupt").rglob("*.*")):
        if path.is_file():
            try:
                check(decode(path.read_bytes(), PREPROCESS))
            except ItemError as error:
                ItemFailure.of(error.item_code, error.message)
