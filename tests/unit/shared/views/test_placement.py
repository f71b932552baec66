"""Views: where images of any size lie, and the way back; layouts of several of them."""

from __future__ import annotations

import numpy as np
import pytest

from shared.staging.pixel_layout import PixelLayout
from shared.views import View
from shared.views.crop import Crop
from shared.views.letterbox import Letterbox
from shared.views.stretch import Stretch

VIEWS = [
    Crop(resize_shorter_pixels=256, crop_pixels=224),
    Crop(resize_shorter_pixels=7, crop_pixels=6),
    Letterbox(width=64, height=48),
    Letterbox(width=5, height=640, align="top_left"),
    Stretch(width=64, height=64),
    Stretch(width=1, height=4096),
]
SIZES = [(1, 1), (1, 900), (900, 1), (640, 480), (480, 640), (10**6, 3), (3, 10**6), (255, 256)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("view", VIEWS, ids=repr)
def test_what_is_shown_lies_on_the_canvas_and_in_the_image(
    view: View, size: tuple[int, int]
) -> None:
    placement = view.place(size)
    left, top, right, bottom = placement.shown
    assert 0 <= left < right <= placement.resized[0]
    assert 0 <= top < bottom <= placement.resized[1]
    assert 0 <= left + placement.offset[0] < right + placement.offset[0] <= view.canvas[0]
    assert 0 <= top + placement.offset[1] < bottom + placement.offset[1] <= view.canvas[1]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("view", VIEWS, ids=repr)
def test_an_image_with_the_least_shorter_side_is_not_enlarged(
    view: View, size: tuple[int, int]
) -> None:
    least = view.min_shorter_pixels(size)
    for upright in (size, size[::-1]):
        new = view.place(upright).resized
        scaled = [side * least / min(size) for side in upright]
        assert all(a <= b + 1e-6 for a, b in zip(new, scaled, strict=True))


@pytest.mark.parametrize("view", VIEWS, ids=repr)
def test_the_way_back_gives_the_whole_image_for_all_of_the_resized(view: View) -> None:
    size = (640, 480)
    placement = view.place(size)
    x, y = placement.offset
    box = np.array([[x, y, x + placement.resized[0], y + placement.resized[1]]], np.float64)
    assert placement.to_original(box, size) == pytest.approx(np.array([[0, 0, 640, 480]]))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, np.float32])
def test_the_way_back_keeps_fractions_and_signs_of_points_of_any_type(kind: type) -> None:
    points = np.array([[0, 1], [31, 7], [40, 12]], kind)
    before = points.copy()
    for view in VIEWS:
        placement = view.place((641, 479))
        found = placement.to_original(points, (641, 479))
        assert np.array_equal(found, placement.to_original(points.astype(float), (641, 479)))
    assert np.array_equal(points, before)


def test_a_crop_needs_exactly_its_shorter_side() -> None:
    for size in SIZES:
        assert VIEWS[0].min_shorter_pixels(size) == 256


@pytest.mark.parametrize("kept", range(4))
def test_images_close_up_where_fewer_are_left(kept: int) -> None:
    views = (VIEWS[1], VIEWS[2], Stretch(width=3, height=2))
    layout = PixelLayout(views, 3)
    pixels = np.zeros(layout.total_bytes + 10, np.uint8)
    for image in range(3):
        for view, row in enumerate(layout.rows(pixels, image)):
            row[:] = 10 * image + view + 1
    layout.close_up(pixels, kept)
    closer = PixelLayout(views, kept)
    assert closer.total_bytes == kept * sum(view.image_bytes for view in views)
    for image in range(kept):
        for view, row in enumerate(closer.rows(pixels, image)):
            width, height = views[view].canvas
            assert row.shape == (height, width, 3)
            assert np.all(row == 10 * image + view + 1)
    assert not pixels[layout.total_bytes :].any()


def test_no_views_take_no_bytes() -> None:
    layout = PixelLayout((), 64)
    assert layout.total_bytes == 0
    assert layout.rows(np.empty(0, np.uint8), 5) == ()
