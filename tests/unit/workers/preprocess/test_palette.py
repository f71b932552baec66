"""Dominant colours: exact for flat images, the same every time, and named as CSS names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from shared.analyses.palette import MAX_COLOURS, Palette
from shared.cielab import to_lab
from shared.pixels import Pixels
from workers.preprocess.analyses.palette import analyse
from workers.preprocess.cpu_analysis import CpuAnalysis

FIVE = Palette()


def flags(*shares: tuple[str, int], width: int = 64) -> Pixels:
    """Rows of one CSS colour each, as many as said, shuffled."""
    colours = [ImageColor.getrgb(name)[:3] for name, rows in shares for _ in range(rows * width)]
    shuffled = np.random.default_rng(3).permutation(np.array(colours, np.uint8))
    return shuffled.reshape(-1, width, 3)


def test_css_has_148_names_and_each_is_its_own() -> None:
    assert len(ImageColor.colormap) == 148
    for name in ImageColor.colormap:
        (colour,) = analyse(FIVE, flags((name, 2)))
        assert ImageColor.getrgb(colour["name"]) == ImageColor.getrgb(name)
        assert ImageColor.getrgb(colour["hex"]) == ImageColor.getrgb(name)
        assert colour["share"] == 1


def test_colours_come_by_share_and_no_more_than_the_image_has() -> None:
    pixels = flags(("red", 8), ("white", 40), ("navy", 16))
    assert analyse(FIVE, pixels) == [
        {"hex": "#ffffff", "share": 40 / 64, "name": "white"},
        {"hex": "#000080", "share": 16 / 64, "name": "navy"},
        {"hex": "#ff0000", "share": 8 / 64, "name": "red"},
    ]
    assert [c["name"] for c in analyse(Palette(count=1), flags(("gold", 64)))] == ["gold"]


def test_a_few_pixels_of_another_colour_are_a_colour() -> None:
    pixels = flags(("white", 64))
    pixels[5, 7] = (255, 0, 0)
    found = analyse(Palette(count=2), pixels)
    assert [c["hex"] for c in found] == ["#ffffff", "#ff0000"]


def test_colours_that_nobody_can_tell_apart_are_one() -> None:
    pixels = np.random.default_rng(1).integers(199, 202, (64, 64, 3), np.uint8)
    (colour,) = analyse(FIVE, pixels)
    assert colour == {"hex": "#c8c8c8", "share": 1.0, "name": "silver"}


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (64, 64), (3, 500)])
@pytest.mark.parametrize("count", [1, 5, MAX_COLOURS])
def test_any_image_has_an_answer_that_its_column_takes(shape: tuple[int, int], count: int) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (*shape, 3), np.uint8)
    answer = CpuAnalysis("colours", Palette(count=count)).ask(pixels)
    assert 1 <= len(answer) <= count
    shares = [colour["share"] for colour in answer]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert min(shares) > 0
    assert answer == CpuAnalysis("colours", Palette(count=count)).ask(pixels.copy())


@pytest.mark.shared_data
def test_the_colours_of_photos_stand_for_their_pixels(photos: list[Path]) -> None:
    """Of the differences from the mean colour, five colours leave at most two fifths."""
    for path in photos[::50]:
        pixels = np.asarray(Image.open(path).convert("RGB").resize((64, 64)))
        lab = to_lab(pixels.reshape(-1, 3).astype(np.float32))
        found = [ImageColor.getrgb(c["hex"])[:3] for c in analyse(FIVE, pixels)]
        colours = to_lab(np.array(found, np.float32))
        left = np.linalg.norm(lab[:, np.newaxis] - colours, axis=2).min(axis=1)
        whole = np.linalg.norm(lab - lab.mean(axis=0), axis=1)
        assert (left**2).mean() < 0.4 * (whole**2).mean()
