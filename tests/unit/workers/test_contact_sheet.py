"""Contact sheets: each image at its place, a gray tile for what cannot be shown."""

from __future__ import annotations

import hashlib
import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.contact_sheets import ContactSheet, ContactSheets
from shared.item import Item
from shared.pipeline import Preprocess
from tests.support.memory_store import MemoryStore
from workers import contact_sheet
from workers.preprocess.fetch import Fetcher, by_bytes

RED, BLUE, GRAY, WHITE = (200, 0, 0), (0, 0, 200), (128, 128, 128), (255, 255, 255)
TILE, STEP = 200, 204


def picture(size: tuple[int, int], colour: tuple[int, int, int], form: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, form)
    return out.getvalue()


def drawn(folder: Path, *objects: bytes | None, **changes: Any) -> tuple[Any, list[bool]]:
    """The sheet of these objects, of which None is one that is gone, and what it tells."""
    store = MemoryStore("photos")
    items, told = [], []
    for number, data in enumerate(objects):
        key, kept = f"{number}.png", data or b"gone"
        items.append(Item(key=key, etag=hashlib.md5(kept).hexdigest(), size=len(kept)))
        if data is not None:
            store.put("photos", key, data)
    sheet = ContactSheet(path=folder / "sheet.jpg", items=tuple(items))
    preprocess = Preprocess(**changes)
    request = ContactSheets(home=folder, bucket="photos", preprocess=preprocess, sheets=(sheet,))
    fetcher = Fetcher(lambda _bucket: store, threading.Event(), 1.0)
    contact_sheet.draw(request, sheet, fetcher, told.append)
    return np.asarray(Image.open(sheet.path)), told


def colour_at(pixels: Any, x: int, y: int) -> Any:
    """JPEG keeps it nearly."""
    return pytest.approx(tuple(int(value) for value in pixels[y, x]), abs=6)


def test_images_lie_in_rows_each_in_its_own_shape(tmp_path: Path) -> None:
    wide, high = picture((300, 150), RED), picture((50, 100), BLUE)  # one is enlarged
    pixels, told = drawn(tmp_path, *[wide] * 6, high)
    assert pixels.shape == (2 * STEP - 4, 6 * STEP - 4, 3)
    assert told == [True] * 7
    for column in range(6):
        assert colour_at(pixels, column * STEP + 5, 100) == RED
        assert colour_at(pixels, column * STEP + 100, 20) == WHITE
    assert colour_at(pixels, 100, STEP + 5) == BLUE
    assert colour_at(pixels, 20, STEP + 100) == WHITE
    assert colour_at(pixels, STEP + 100, STEP + 100) == WHITE


def test_large_objects_are_not_all_fetched_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, real = [], Fetcher.fetch

    def fetch(fetcher: Fetcher, bucket: str, items: Any, max_bytes: int) -> Any:
        counts.append(len(items))
        return real(fetcher, bucket, items, max_bytes)

    monkeypatch.setattr(Fetcher, "fetch", fetch)
    monkeypatch.setattr(contact_sheet, "by_bytes", lambda items: by_bytes(items, limit=1))
    pixels, told = drawn(tmp_path, picture((9, 9), RED), None, picture((9, 9), BLUE))
    assert (counts, told) == ([1, 1, 1], [True, False, True])
    assert colour_at(pixels, 100, 100) == RED
    assert colour_at(pixels, 2 * STEP + 100, 100) == BLUE


def test_one_image_is_a_sheet_of_one_tile(tmp_path: Path) -> None:
    pixels, _ = drawn(tmp_path, picture((10, 10), RED, "GIF"))
    assert pixels.shape == (TILE, TILE, 3)
    assert colour_at(pixels, 100, 100) == RED


@pytest.mark.parametrize(
    "bad",
    [None, b"no image", b"", picture((9, 9), RED)[:30], picture((2000, 2000), RED)],
    ids=["gone", "no image", "empty", "cut off", "too many pixels"],
)
def test_what_cannot_be_shown_is_a_gray_tile(bad: bytes | None, tmp_path: Path) -> None:
    pixels, told = drawn(tmp_path, picture((9, 9), RED), bad, picture((9, 9), BLUE), max_pixels=999)
    assert told == [True, False, True]
    assert colour_at(pixels, 100, 100) == RED
    assert colour_at(pixels, STEP + 100, 100) == GRAY
    assert colour_at(pixels, STEP + 5, 5) == GRAY
    assert colour_at(pixels, 2 * STEP + 100, 100) == BLUE
