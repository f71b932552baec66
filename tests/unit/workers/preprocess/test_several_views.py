"""One decoded image in several views, with answers from the CPU: by every way that pixels go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.analyses import Analysis
from shared.analyses.classes import Classes
from shared.analyses.palette import Palette
from shared.analyses.vector import Vector
from shared.answers import failed_also
from shared.errors import ItemError, ItemErrorCode
from shared.item import Item, ItemFailure
from shared.messages import Batch, Parcel, Result, Slot
from shared.pipeline import Pipeline, Preprocess
from shared.pixels import Pixels
from shared.settings import RingSettings
from shared.stages import RESULTS
from shared.staging import StagingRing, create_ring, open_ring
from shared.staging.pixel_layout import PixelLayout
from shared.views.crop import Crop
from shared.views.letterbox import Letterbox
from tests.support.fake_network import Parcels
from tests.support.fake_store import FakeStore
from tests.support.gray_squares import (
    SLOTS,
    all_slots_are_free,
    batch_of,
    chunk,
    codes,
    column,
    make_stage,
)
from tests.support.pictures import encoded, picture
from tests.support.samples import MODEL, class_model, long_pipeline
from workers.preprocess import cpu_analysis, staged_chunk
from workers.preprocess.decode import decode
from workers.preprocess.fill import ImageFiller, empty_row
from workers.preprocess.resize import resize_into
from workers.runtime import Forward
from workers.suspects import SUSPECT_LOSSES

SQUARE = Crop(resize_shorter_pixels=9, crop_pixels=8)
BARS = Letterbox(width=20, height=12)
COLOURS = Palette(view=Palette.own_view)
ANALYSES: dict[str, Analysis] = {
    "objects": Vector(model="tiny", view=BARS, length=4),
    "colours": COLOURS,
    "kinds": Classes(model="tiny", view=SQUARE),
    "style": Vector(model="tiny", view=BARS, length=4),
    "framed": Palette(view=BARS, count=2),
}
CATALOGUE = long_pipeline(ANALYSES, (MODEL,))
PALETTES = long_pipeline({"colours": COLOURS})
IMAGES = {f"{n}.png": encoded(picture(20 + 9 * n, 40 - 6 * n)) for n in range(4)}


@pytest.fixture
def ring(tmp_path: Path) -> StagingRing:
    """Slots that exactly four images fill."""
    slot_bytes = 4 * CATALOGUE.staged_image_bytes
    settings = RingSettings(
        directory=tmp_path / "ring", slot_bytes=(slot_bytes,), slot_counts=(SLOTS,)
    )
    create_ring(settings)
    return open_ring(settings, "here")


@pytest.fixture
def store() -> FakeStore:
    return FakeStore({**IMAGES, "t.png": b"text"})


def items(store: FakeStore, which: str) -> list[Item]:
    """The picture of each digit; x is missing, and t is a text, which only decoding finds out."""
    return [
        Item(key="gone", etag="", size=1) if n == "x" else store.items([f"{n}.png"])[0]
        for n in which
    ]


def expected(key: str, pipeline: Pipeline = CATALOGUE) -> tuple[Pixels, ...]:
    """An image in each staged view, made one by one."""
    views = pipeline.staged_views
    decoded = decode(IMAGES[key], Preprocess(), views)
    rows = tuple(np.full_like(empty_row(view), 77) for view in views)
    for row, view in zip(rows, views, strict=True):
        resize_into(row, decoded.pixels, view.place((decoded.width, decoded.height)))
    return rows


def check(pixels: Pixels, images: int, keys: list[str]) -> None:
    """``pixels`` are those of the good items, laid out as a reader expects them."""
    assert images == len(keys)
    layout = PixelLayout(CATALOGUE.staged_views, images)
    assert layout.total_bytes <= pixels.size
    for number, key in enumerate(keys):
        for got, wanted in zip(layout.rows(pixels, number), expected(key), strict=True):
            assert np.array_equal(got, wanted)


PATTERNS = ["0123", "3210", "2", "x", "t", "xxxx", "tttt", "x12t", "0t23", "t1t", "tt01", "01tt"]
CODES = {"x": "missing", "t": "not_an_image"}


@pytest.mark.parametrize("which", PATTERNS)
def test_all_views_lie_in_one_slot(store: FakeStore, ring: StagingRing, which: str) -> None:
    outcome = make_stage(store, ring)(chunk(items(store, which), pipeline=CATALOGUE))
    batch = batch_of(outcome)
    good = [f"{n}.png" for n in which if n not in CODES]
    assert codes(batch) == [CODES.get(n) for n in which]
    assert [answer is None for answer in column(batch, "colours")] == [n in CODES for n in which]
    assert (batch.staged is None) == (not good)
    assert isinstance(outcome, Forward)
    outcome.release()
    if isinstance(batch.staged, Slot):
        hold = ring.read(batch.staged, batch.ref)
        check(hold.pixels, batch.staged.images, good)
        hold.release()
    assert all_slots_are_free(ring)


@pytest.mark.parametrize("which", ["0123", "x1x2", "t1t2", "2"])
def test_a_parcel_has_exactly_the_bytes_of_the_good_images(
    store: FakeStore, ring: StagingRing, which: str
) -> None:
    parcels = Parcels()
    stage = make_stage(store, ring, network=parcels, waiting=lambda: {"there": 0})
    batch = batch_of(stage(chunk(items(store, which), pipeline=CATALOGUE)), "there")
    good = [f"{n}.png" for n in which if n not in CODES]
    assert batch.staged == Parcel(images=len(good))
    sent = parcels.sent[batch.ref]
    assert sent.size == len(good) * CATALOGUE.staged_image_bytes
    check(sent, len(good), good)


def test_a_child_gives_the_same_pixels_and_answers(store: FakeStore, ring: StagingRing) -> None:
    found = []
    for losses in (0, SUSPECT_LOSSES):
        parcels = Parcels()
        stage = make_stage(store, ring, network=parcels, waiting=lambda: {"there": 0})
        outcome = stage(chunk(items(store, "0xt321"), pipeline=CATALOGUE), losses)
        batch = batch_of(outcome, "there")
        found.append((batch.answers.to_pylist(), parcels.sent[batch.ref].tobytes()))
    assert found[0] == found[1]


def result_of(outcome: Any) -> Result:
    assert isinstance(outcome, Forward)
    assert (outcome.stage, outcome.host) == (RESULTS, "")
    assert isinstance(outcome.message, Result)
    return Result.model_validate_json(outcome.message.model_dump_json())


@pytest.mark.parametrize(("which", "losses"), [("0x2", 0), ("x", 0), ("0x2", SUSPECT_LOSSES)])
def test_palettes_alone_go_straight_to_the_results_and_take_no_slot(
    store: FakeStore, ring: StagingRing, which: str, losses: int
) -> None:
    parcels = Parcels()
    stage = make_stage(store, ring, network=parcels, waiting=lambda: {"there": 0})
    found = result_of(stage(chunk(items(store, which), pipeline=PALETTES), losses))
    assert codes(found) == ["missing" if n == "x" else None for n in which]
    assert found.computed == {}
    assert found.scored_at > 0
    assert [answer is None for answer in column(found, "colours")] == [n == "x" for n in which]
    assert (parcels.reserved, parcels.sent) == ({}, {})
    assert all_slots_are_free(ring)


def test_an_analysis_in_a_staged_view_sees_the_staged_row_and_cannot_change_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Pixels] = []

    def analyse(_: Palette, pixels: Pixels) -> list[object]:
        seen.append(pixels)
        return []

    monkeypatch.setattr(cpu_analysis, "analyser_of", lambda _: analyse)
    rows = [empty_row(view) for view in CATALOGUE.staged_views]
    ImageFiller(CATALOGUE)(rows, IMAGES["1.png"])
    of_own_view, framed = seen
    assert np.shares_memory(framed, rows[0])
    assert not any(np.shares_memory(of_own_view, row) for row in rows)
    with pytest.raises(ValueError, match="read-only"):
        framed[0, 0, 0] = 1


def _refuse(_: Palette, pixels: Pixels) -> list[object]:
    raise ItemError(ItemErrorCode.UNSUPPORTED, "It is too dark.")


def _fail(_: Palette, pixels: Pixels) -> list[object]:
    raise ZeroDivisionError("no light")


def test_a_defect_of_an_analysis_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_analysis, "analyser_of", lambda _: _fail)
    monkeypatch.setattr(cpu_analysis, "_logged", set())
    rows = [empty_row(view) for view in CATALOGUE.staged_views]
    for _ in range(3):
        with pytest.raises(ItemError, match="no light"):
            ImageFiller(CATALOGUE)(rows, IMAGES["1.png"])
    (record,) = caplog.records
    assert record.exc_info is not None


COLOUR = {"hex": "#000000", "share": 1.0, "name": "black"}
BAD_ANSWERS: dict[str, Any] = {
    "too dark": _refuse,
    "ZeroDivisionError: no light": _fail,
    "no answer": lambda *_: None,
    "not an answer of this kind": lambda *_: [7],
    "a share that is not": lambda *_: [COLOUR | {"share": float("nan")}],
    "more than 5 colours": lambda *_: [COLOUR] * 6,
    "an incomplete colour": lambda *_: [{"hex": "#000000"}],
}


@pytest.mark.parametrize("text", BAD_ANSWERS)
def test_an_image_that_one_analysis_refuses_fails_as_a_whole_and_leaves_no_pixels(
    store: FakeStore, ring: StagingRing, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cpu_analysis.analyser_of("palette")

    def analyse(analysis: Palette, pixels: Pixels) -> Any:
        is_second = np.array_equal(pixels, second)
        return BAD_ANSWERS[text](analysis, pixels) if is_second else real(analysis, pixels)

    assert COLOURS.view is not None
    second = empty_row(COLOURS.view)
    decoded = decode(IMAGES["2.png"], Preprocess(), (COLOURS.view, *CATALOGUE.staged_views))
    resize_into(second, decoded.pixels, COLOURS.view.place((decoded.width, decoded.height)))
    monkeypatch.setattr(cpu_analysis, "analyser_of", lambda _: analyse)
    outcome = make_stage(store, ring)(chunk(items(store, "123"), pipeline=CATALOGUE))
    batch = batch_of(outcome)
    assert isinstance(outcome, Forward)
    outcome.release()
    _, message, _ = column(batch, "error_message")
    assert message.startswith("palette 'colours': ")
    assert text in message
    assert column(batch, "framed")[1] is None
    assert isinstance(batch.staged, Slot)
    hold = ring.read(batch.staged, batch.ref)
    check(hold.pixels, batch.staged.images, ["1.png", "3.png"])
    hold.release()


def test_an_image_that_one_view_refuses_fails_as_a_whole(
    store: FakeStore, ring: StagingRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Letterbox.place

    def place(view: Letterbox, original: tuple[int, int]) -> Any:
        if original[0] < original[1]:
            raise ItemError(ItemErrorCode.UNSUPPORTED, "It is upright.")
        return real(view, original)

    monkeypatch.setattr(Letterbox, "place", place)
    batch = batch_of(make_stage(store, ring)(chunk(items(store, "0123"), pipeline=CATALOGUE)))
    assert codes(batch) == ["unsupported", "unsupported", None, None]
    assert column(batch, "error_message")[0] == "vector 'objects': It is upright."


def test_images_whose_answers_do_not_fit_lose_their_rows(
    store: FakeStore, ring: StagingRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = ItemFailure.of(ItemErrorCode.MODEL_ERROR, "Too long.")
    monkeypatch.setattr(staged_chunk, "fitting", lambda found: failed_also(found, {1: failure}))
    outcome = make_stage(store, ring)(chunk(items(store, "0123"), pipeline=CATALOGUE))
    batch = batch_of(outcome)
    assert isinstance(outcome, Forward)
    outcome.release()
    assert codes(batch) == [None, "model_error", None, None]
    assert isinstance(batch.staged, Slot)
    hold = ring.read(batch.staged, batch.ref)
    check(hold.pixels, batch.staged.images, ["0.png", "2.png", "3.png"])
    hold.release()


def test_a_class_gets_the_keys_of_all_items(store: FakeStore, ring: StagingRing) -> None:
    by_class = long_pipeline(
        {"own": Vector(model="own", view=SQUARE, length=4)}, (class_model("mine:Own"),)
    )
    chosen = items(store, "0x2")
    batch = batch_of(make_stage(store, ring)(chunk(chosen, pipeline=by_class)))
    assert batch.keys == [item.key for item in chosen]


def test_a_large_photo_is_decoded_no_larger_than_its_largest_view_needs() -> None:
    data = encoded(picture(1600, 1200), "JPEG")
    large = Crop(resize_shorter_pixels=256, crop_pixels=224)
    assert COLOURS.view is not None
    for views, shape in (
        ((COLOURS.view,), (150, 200)),
        ((COLOURS.view, large), (600, 800)),
        ((Letterbox(width=700, height=10),), (150, 200)),
        ((Letterbox(width=700, height=700),), (1200, 1600)),
    ):
        assert decode(data, Preprocess(), views).pixels.shape[:2] == shape


def test_one_chunk_of_64_images_and_one_image_of_64(store: FakeStore, tmp_path: Path) -> None:
    slot_bytes = 64 * CATALOGUE.staged_image_bytes
    settings = RingSettings(directory=tmp_path / "big", slot_bytes=(slot_bytes,), slot_counts=(2,))
    create_ring(settings)
    ring = open_ring(settings, "here")
    for which in ("t" * 63 + "3", "0123" * 16):
        outcome = make_stage(store, ring)(chunk(items(store, which), pipeline=CATALOGUE))
        batch: Batch = batch_of(outcome)
        assert isinstance(outcome, Forward)
        outcome.release()
        assert isinstance(batch.staged, Slot)
        hold = ring.read(batch.staged, batch.ref)
        check(hold.pixels, batch.staged.images, [f"{n}.png" for n in which if n not in CODES])
        hold.release()
