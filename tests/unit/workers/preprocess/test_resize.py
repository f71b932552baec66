"""Resizing: torchvision's geometry and torchvision's pixels."""

from __future__ import annotations

import io
import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional

from shared.pipeline import Preprocess
from shared.pixels import Pixels
from shared.views import View
from shared.views.crop import Crop, resized_by_shorter
from shared.views.letterbox import Letterbox
from shared.views.stretch import Stretch
from tests.support.decoding import USUAL_VIEW
from tests.support.pictures import difference, encoded, picture
from workers.preprocess import resize
from workers.preprocess.decode import decode
from workers.preprocess.fill import empty_row
from workers.preprocess.resize import resize_into


def reference(image: Image.Image, shorter: int = 256, crop: int = 224) -> Image.Image:
    steps = [transforms.Resize(shorter, antialias=True), transforms.CenterCrop(crop)]
    done: Image.Image = transforms.Compose(steps)(image.convert("RGB"))
    return done


def ours(data: bytes, shorter: int = 256, crop: int = 224) -> Pixels:
    return drawn(data, Crop(resize_shorter_pixels=shorter, crop_pixels=crop))


def drawn(data: bytes, view: View) -> Pixels:
    """The image in a view, as preprocessing makes it."""
    decoded = decode(data, Preprocess(), (view,))
    row = np.full_like(empty_row(view), 99)
    resize_into(row, decoded.pixels, view.place((decoded.width, decoded.height)))
    return row


def test_sizes_are_torchvisions() -> None:
    numbers = random.Random(7)
    for _ in range(500):
        size, shorter = (
            (numbers.randint(1, 5000), numbers.randint(1, 5000)),
            numbers.randint(1, 600),
        )
        height, width = functional._compute_resized_output_size(size[::-1], [shorter])
        assert resized_by_shorter(size, shorter) == (width, height)


@pytest.mark.parametrize(
    "size",
    [
        *((500, 375), (375, 500), (333, 257), (256, 256), (256, 300), (224, 224), (31, 20), (1, 1)),
        *((1, 3), (900, 225), (901, 225), (17, 900), (2500, 33), (33, 2501)),
    ],
)
@pytest.mark.parametrize(("shorter", "crop"), [(256, 224), (255, 224), (64, 63), (224, 224)])
def test_pixels_are_torchvisions(size: tuple[int, int], shorter: int, crop: int) -> None:
    image = picture(*size)
    expected = reference(image, shorter, crop)
    got = ours(encoded(image), shorter, crop)
    worst = np.abs(got.astype(int) - np.asarray(expected, int)).max()
    assert worst <= 1


SIZES = [(64, 48), (48, 64), (7, 7), (1, 1), (1, 3), (300, 200), (1000, 3), (3, 1000), (19, 20)]
WHOLE_VIEWS = [
    Letterbox(width=40, height=30),
    Letterbox(width=30, height=40, align="top_left", pad=0),
    Letterbox(width=300, height=3, pad=255),
    Stretch(width=40, height=30),
    Stretch(width=5, height=200),
    Stretch(width=1, height=1),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("view", WHOLE_VIEWS, ids=repr)
def test_the_whole_image_is_drawn_as_pillow_resizes_it_with_padding_around(
    size: tuple[int, int], view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture(*size)
    placement = view.place(size)
    expected = Image.new("RGB", view.canvas, (placement.pad,) * 3)
    resized = image.resize(placement.resized, Image.Resampling.BILINEAR)
    expected.paste(resized, placement.offset)
    for torch in (resize.imported_torch(), None):
        monkeypatch.setattr(resize, "imported_torch", partial(lambda torch: torch, torch))
        got = drawn(encoded(image), view)
        assert np.abs(got.astype(int) - np.asarray(expected, int)).max() <= 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("shorter", "crop"), [(256, 224), (33, 32), (8, 1)])
def test_a_crop_is_the_same_without_torch(
    size: tuple[int, int], shorter: int, crop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(picture(*size))
    with_torch = ours(data, shorter, crop)
    monkeypatch.setattr(resize, "imported_torch", lambda: None)
    assert np.abs(with_torch.astype(int) - ours(data, shorter, crop)).max() <= 1


def test_only_the_row_is_written() -> None:
    slot = np.zeros(3 * 8 * 8 * 3, np.uint8)
    row = slot[192:384].reshape(8, 8, 3)
    view = Crop(resize_shorter_pixels=9, crop_pixels=8)
    resize_into(row, np.full((20, 10, 3), 5, np.uint8), view.place((10, 20)))
    assert np.all(slot[192:384] == 5)
    assert not slot[:192].any()
    assert not slot[384:].any()


LONG_SIZES = [(side, 200_000) for side in (1, 2, 3, 40)] + [(200_000, side) for side in (1, 2, 40)]
SIDES = (64, 1024)
LONG_VIEWS = [
    USUAL_VIEW,
    Crop(resize_shorter_pixels=1024, crop_pixels=1024),
    *(kind(width=w, height=h) for kind in (Letterbox, Stretch) for w in SIDES for h in SIDES),
]


@pytest.mark.parametrize("has_torch", [True, False])
@pytest.mark.parametrize("view", LONG_VIEWS, ids=repr)
def test_no_shape_takes_much_more_memory_than_the_image_and_the_canvas(
    view: View, has_torch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_torch:
        monkeypatch.setattr(resize, "imported_torch", lambda: None)
    for size in LONG_SIZES:
        pixels = np.full((*size[::-1], 3), 200, np.uint8)
        row = np.full_like(empty_row(view), 99)
        placement = view.place(size)
        before = forget_peak()
        resize_into(row, pixels, placement)
        assert peak_kilobytes() - before < 3 * (pixels.nbytes + row.nbytes) / 1024 + 20_000, size
        assert {200, placement.pad} >= set(np.unique(row[::9, ::9]).tolist())


def peak_kilobytes() -> int:
    """The most memory that the process had since it was last forgotten."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def forget_peak() -> int:
    """From now on the peak is that of what follows. Gives what it begins with."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_kilobytes()


@pytest.mark.shared_data
def test_real_photos_are_as_torchvision_makes_them(photos: list[Path]) -> None:
    chosen = photos[::10]
    differences = [difference(ours(p.read_bytes()), reference(Image.open(p))) for p in chosen]
    assert max(differences) < 0.5


@pytest.mark.shared_data
def test_scaled_decoding_stays_close(photos: list[Path]) -> None:
    for path in photos[::50]:
        large = Image.open(path).resize((1620, 1080), Image.Resampling.BICUBIC)
        data = encoded(large, "JPEG", quality=90)
        assert difference(ours(data), reference(Image.open(io.BytesIO(data)))) < 1


@pytest.mark.shared_data
@pytest.mark.parametrize("scene", ["Landscape", "Portrait"])
def test_real_orientations_give_one_picture(shared_data: Path, scene: str) -> None:
    upright, *turned = (
        ours((shared_data / "orientation" / f"{scene}_{n}.jpg").read_bytes()) for n in range(9)
    )
    # Each was compressed again and shows its own number.
    assert max(difference(upright, other) for other in turned) < 3
