"""Samples of 16 bits become 8 by the bits that they fill, in every layout that holds them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from shared.pipeline import Preprocess
from tests.support.decoding import decode
from tools.format_samples import Array, jpeg2000, png16, tiff, values

HIGH_BYTE = Preprocess(sixteen_bit="high_byte")
LAYOUTS: dict[str, tuple[int, Callable[[Array], bytes]]] = {
    "png gray": (1, png16),
    "png gray and alpha": (2, png16),
    "png colour": (3, png16),
    "png colour and alpha": (4, png16),
    "tiff gray, little-endian": (1, lambda samples: tiff(samples, 1)),
    "tiff gray, big-endian": (1, lambda samples: tiff(samples, 1, ">")),
    "tiff gray as a plane": (1, lambda samples: tiff(samples, 1, planes=2)),
    "tiff colour, little-endian": (3, lambda samples: tiff(samples, 2)),
    "tiff colour, big-endian": (3, lambda samples: tiff(samples, 2, ">")),
    "tiff colour and alpha": (4, lambda samples: tiff(samples, 2, t338=2)),
    "tiff planes, little-endian": (3, lambda samples: tiff(samples, 2, planes=2)),
    "tiff planes, big-endian": (3, lambda samples: tiff(samples, 2, ">", planes=2)),
    "tiff compressed": (1, lambda samples: compressed(samples)),
}


def compressed(samples: Array) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(samples[:, :, 0]).save(sink, "TIFF", compression="tiff_adobe_deflate")
    return sink.getvalue()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("top", [0, 200, 255, 256, 1023, 4095, 4096, 32767, 65535])
def test_the_largest_value_decides(layout: str, top: int) -> None:
    channels, make = LAYOUTS[layout]
    samples = values(top, channels)
    colours = samples[:, :, : 1 if channels < 3 else 3].copy()
    samples[:, :, colours.shape[2] :] = 65535  # of alpha
    shift = max(0, int(colours.max()).bit_length() - 8)
    data = make(samples)
    for preprocess, expected in ((Preprocess(), colours >> shift), (HIGH_BYTE, colours >> 8)):
        found = decode(data, preprocess).pixels
        assert np.array_equal(found, np.broadcast_to(expected, found.shape))


def test_a_tiff_may_declare_more_bits_than_its_values_fill() -> None:
    assert decode(tiff(values(300), 1, t281=4095), Preprocess()).pixels.max() == 300 >> 4
    assert decode(tiff(values(65535), 1, t281=4095), Preprocess()).pixels.max() == 255


@pytest.mark.parametrize("order", ["<", ">"])
def test_zero_is_white_where_the_tiff_says_so(order: Literal["<", ">"]) -> None:
    found = decode(tiff(values(4095), 0, order), Preprocess()).pixels
    assert np.array_equal(found[:, :, 0], 255 - (values(4095) >> 4)[:, :, 0])


@pytest.mark.parametrize("bits", [9, 10, 12, 15, 16])
@pytest.mark.parametrize("preprocess", [Preprocess(), HIGH_BYTE])
def test_a_jpeg_2000_is_scaled_by_the_bits_that_it_declares(
    bits: int, preprocess: Preprocess
) -> None:
    for top in ((1 << bits) - 1, (1 << bits) // 3, 255):  # the last ones are dark
        found = decode(jpeg2000(bits, top), preprocess).pixels
        assert np.array_equal(found[:, :, 0], values(top)[:, :, 0] >> (bits - 8)), top


@pytest.mark.parametrize("bits", range(1, 9))
def test_white_is_white_in_a_jpeg_2000_of_few_bits(bits: int) -> None:
    white = (1 << bits) - 1
    found = decode(jpeg2000(bits, white), Preprocess()).pixels[:, :, 0]
    exact = values(white)[:, :, 0].astype(float) * 255 / white
    assert (found.min(), found.max()) == (0, 255)
    assert np.abs(found - exact).max() < 1
