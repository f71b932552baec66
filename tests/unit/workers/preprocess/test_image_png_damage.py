"""Damage to a PNG's pixels that Pillow does not notice is a warning, or fails where strict."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from shared.errors import ItemError, ItemErrorCode
from shared.pipeline import Preprocess
from tests.support.decoding import decode
from tests.support.pictures import encoded, picture
from tools.format_samples import png_chunk

START = b"\x89PNG\r\n\x1a\n"
STRICT = Preprocess(decode="strict")


def warning(data: bytes) -> str | None:
    return decode(data, Preprocess()).warning


def outcome(data: bytes) -> str | None:
    try:
        return warning(data)
    except ItemError as error:
        return error.item_code.value


def png(rows: bytes, *, interlaced: bool = False, colour: int = 2, pieces: int = 1) -> bytes:
    """32x32 pixels of 8 bits."""
    header = struct.pack("!IIBBBBB", 32, 32, 8, colour, 0, 0, interlaced)
    palette = png_chunk(b"PLTE", bytes(range(9))) if colour == 3 else b""
    deflated = zlib.compress(rows)
    step = -(-len(deflated) // pieces)
    body = [png_chunk(b"IDAT", deflated[n * step : (n + 1) * step]) for n in range(pieces)]
    return START + b"".join((png_chunk(b"IHDR", header), palette, *body, png_chunk(b"IEND", b"")))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("level", [0, 9])
@pytest.mark.parametrize("black", [False, True])
def test_a_sound_png_has_no_warning(mode: str, level: int, black: bool) -> None:
    image = Image.new("RGB", (65, 49)) if black else picture(65, 49)
    image = image.convert("L").convert("I").convert("I;16") if mode == "I;16" else image
    image = image if mode == "I;16" else image.convert(mode)
    assert warning(encoded(image, compress_level=level)) is None


@pytest.mark.parametrize("black", [False, True])
def test_a_sound_interlaced_png_has_no_warning(black: bool) -> None:
    gray = 0 if black else 7
    passes = ((4, 4), (4, 4), (8, 4), (8, 8), (16, 8), (16, 16), (32, 16))
    rows = b"".join((b"\0" + bytes([gray]) * columns) * count for columns, count in passes)
    assert warning(png(rows, interlaced=True, colour=0)) is None
    assert warning(png(rows[:-33], interlaced=True, colour=0)) == "damaged_data"


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("colour", [0, 2, 3, 4, 6])
def test_pixels_that_end_early_have_a_warning(colour: int, pieces: int) -> None:
    row = b"\0" + b"\1" * (32 * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour])
    assert warning(png(row * 32, colour=colour, pieces=pieces)) is None
    for rows in (row * 31, row * 5, (row * 32)[:-1]):
        found = outcome(png(rows, colour=colour, pieces=pieces))
        assert found in {"damaged_data", "truncated"}


def test_garbled_pixels_have_a_warning_or_fail() -> None:
    rng = np.random.default_rng(0)
    noise = Image.effect_noise((64, 64), 60)
    sound = encoded(noise, compress_level=0)
    start, end = sound.index(b"IDAT") + 4, sound.index(b"IEND") - 4
    for place in rng.integers(start, end, 100):
        garbled = bytearray(sound)
        garbled[place] ^= 1 << int(rng.integers(8))
        assert outcome(bytes(garbled)) in {"damaged_data", "corrupt", "truncated"}, place


def test_a_wrong_checksum_of_pixels_is_a_warning_or_fails_where_strict() -> None:
    sound = encoded(picture())
    place = sound.index(b"IEND") - 8
    garbled = sound[:place] + b"abcd" + sound[place + 4 :]
    assert warning(garbled) == "damaged_data"
    with pytest.raises(ItemError) as caught:
        decode(garbled, STRICT)
    assert caught.value.item_code is ItemErrorCode.CORRUPT
    assert "PNG" in caught.value.message
    assert np.array_equal(decode(sound, STRICT).pixels, np.asarray(picture()))


def test_an_animation_is_checked_by_its_first_frame() -> None:
    sink = io.BytesIO()
    picture().save(sink, "PNG", save_all=True, append_images=[picture().convert("L")])
    assert warning(sink.getvalue()) is None
