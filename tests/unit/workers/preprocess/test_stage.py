"""The stage on real slots: what becomes of items, slots and errors. No broker, no ledger."""

from __future__ import annotations

import threading
from pathlib import Path
from unittest import mock

import pytest

from shared.errors import TransientError
from shared.item import Item
from shared.ledger import ChunkRef
from shared.messages import Slot
from shared.settings import RingSettings
from shared.staging import SlotGone, StagingRing, create_ring, open_ring
from shared.storage import StoreUnavailable
from tests.support.fake_store import FakeStore
from tests.support.gray_squares import (
    CROP,
    IMAGE_BYTES,
    SLOTS,
    all_slots_are_free,
    all_staged,
    batch_of,
    chunk,
    codes,
    column,
    gray_squares,
    make_stage,
    rows,
    sizes,
    small_ring,
)
from tests.support.pictures import difference, encoded, picture
from tests.support.waiting import wait_for
from workers.preprocess import fetch, fill, stage
from workers.preprocess.staged_chunk import StagedChunk
from workers.runtime import Forward, GiveBack


@pytest.fixture
def ring(tmp_path: Path) -> StagingRing:
    return small_ring(tmp_path)


@pytest.fixture
def store() -> FakeStore:
    return gray_squares()


def test_rows_are_dense_and_in_the_order_of_the_items(store: FakeStore, ring: StagingRing) -> None:
    items = store.items(["3.png", "0.png", "1.png", "2.png"])
    items.insert(3, Item(key="gone.png", etag="", size=1))
    outcome = make_stage(store, ring)(chunk(items))
    batch = batch_of(outcome)
    assert codes(batch) == [None, "not_an_image", None, "missing", None]
    assert sizes(batch) == [(CROP, CROP)] * 3
    assert isinstance(outcome, Forward)
    outcome.release()
    assert list(rows(ring, batch)) == [3, 1, 2]
    assert all_slots_are_free(ring)


def test_the_slot_is_locked_until_the_ledger_has_moved_the_chunk(
    store: FakeStore, ring: StagingRing
) -> None:
    outcome = make_stage(store, ring)(chunk(store.items()))
    batch = batch_of(outcome)
    assert isinstance(outcome, Forward)
    assert isinstance(batch.staged, Slot)
    with mock.patch("shared.staging.ring._READ_LOCK_SECONDS", 0), pytest.raises(SlotGone):
        ring.read(batch.staged, batch.ref)
    outcome.abandon()
    assert all_slots_are_free(ring)


@pytest.mark.parametrize("keys", [["0.png"], ["gone.png"], ["0.png", "gone.png", "0.png"]])
def test_a_chunk_without_pixels_has_no_slot(
    store: FakeStore, ring: StagingRing, keys: list[str]
) -> None:
    outcome = make_stage(store, ring)(chunk([Item(key=key, etag="", size=4) for key in keys]))
    batch = batch_of(outcome)
    assert batch.staged is None
    assert all(codes(batch))
    assert isinstance(outcome, Forward)
    outcome.release()
    assert all_slots_are_free(ring)


def test_a_chunk_that_no_slot_can_hold_is_explained_and_ends(
    store: FakeStore, ring: StagingRing
) -> None:
    batch = batch_of(make_stage(store, ring)(chunk(store.items(["1.png"] * 5))))
    assert batch.staged is None
    assert codes(batch) == ["too_large"] * 5
    assert "--chunk-items" in column(batch, "error_message")[0]


def test_large_objects_are_fetched_in_groups_into_one_slot_for_all(
    store: FakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = (IMAGE_BYTES, 4 * IMAGE_BYTES)
    settings = RingSettings(directory=tmp_path / "two", slot_bytes=sizes, slot_counts=(1, 1))
    create_ring(settings)
    ring = open_ring(settings, "here")
    monkeypatch.setattr(stage, "by_bytes", lambda items: fetch.by_bytes(items, limit=1))
    items = store.items(["0.png", "2.png", "0.png", "1.png"])
    outcome = make_stage(store, ring)(chunk(items))
    batch = batch_of(outcome)
    assert codes(batch) == ["not_an_image", None, "not_an_image", None]
    assert isinstance(outcome, Forward)
    outcome.release()
    assert list(rows(ring, batch)) == [2, 1]


def test_stopping_while_no_slot_is_free_gives_the_chunk_back(
    store: FakeStore, ring: StagingRing
) -> None:
    stopping, asked = threading.Event(), threading.Event()

    def staged(refs: list[ChunkRef]) -> list[bool]:
        if len(refs) == SLOTS:
            asked.set()
        return all_staged(refs)

    waiting = make_stage(store, ring, stopping, staged)
    for number in range(SLOTS):
        outcome = waiting(chunk(store.items(), number))
        assert isinstance(outcome, Forward)
        outcome.release()
    outcomes: list[Forward | GiveBack] = []
    thread = threading.Thread(target=lambda: outcomes.append(waiting(chunk(store.items(), 9))))
    thread.start()
    assert asked.wait(10)
    stopping.set()
    thread.join(10)
    assert isinstance(outcomes[0], GiveBack)


def test_a_ledger_that_does_not_answer_is_waited_for(
    store: FakeStore, ring: StagingRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_LEDGER_PAUSE_SECONDS", 0.01)
    refusals = [TransientError("ledger_unavailable", "Not now.") for _ in range(3)]

    def staged(refs: list[ChunkRef]) -> list[bool]:
        if refs and refusals:
            raise refusals.pop()
        return [False for _ in refs]

    preprocess = make_stage(store, ring, staged=staged)
    for number in range(SLOTS + 1):  # the last must ask whether a filled slot is still wanted
        outcome = preprocess(chunk(store.items(), number))
        assert isinstance(outcome, Forward)
        outcome.release()
    assert not refusals


def test_a_store_that_stays_away_gives_the_chunk_back(store: FakeStore, ring: StagingRing) -> None:
    for item in store.items():
        refusals = [StoreUnavailable("store_unavailable", "Not now.") for _ in range(99)]
        store.errors[item.key] = list(refusals)
    outcome = make_stage(store, ring, patience_seconds=0.2)(chunk(store.items()))
    assert isinstance(outcome, GiveBack)
    assert all_slots_are_free(ring)


def test_a_defect_leaves_no_slot_behind(
    store: FakeStore, ring: StagingRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(StagedChunk, "add", defect)
    with pytest.raises(ZeroDivisionError):
        make_stage(store, ring)(chunk(store.items()))
    assert all_slots_are_free(ring)


def test_one_chunk_decodes_while_the_next_is_fetched(
    store: FakeStore, ring: StagingRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, inside = threading.Event(), []
    real = fill.decode

    def slow_decode(*args: object) -> object:
        inside.append(threading.current_thread())
        assert go_on.wait(10)
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(fill, "decode", slow_decode)
    preprocess = make_stage(store, ring)
    threads = [
        threading.Thread(target=preprocess, args=(chunk(store.items(["1.png"]), number),))
        for number in range(2)
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(store.calls) == 2 and inside, what="both fetched, one decoding")
    assert len(inside) == 1
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(inside) == 2


def test_timings_say_where_the_time_went(store: FakeStore, ring: StagingRing) -> None:
    timings = batch_of(make_stage(store, ring)(chunk(store.items()))).timings
    assert min(timings.fetch_seconds, timings.slot_wait_seconds, timings.decode_seconds) > 0
    assert timings.device_seconds == 0


def test_pixels_are_those_of_the_pipeline(ring: StagingRing) -> None:
    store = FakeStore({"a.png": encoded(picture(40, 40))})
    outcome = make_stage(store, ring)(chunk(store.items()))
    batch = batch_of(outcome)
    assert isinstance(outcome, Forward)
    outcome.release()
    assert isinstance(batch.staged, Slot)
    hold = ring.read(batch.staged, batch.ref)
    image = hold.pixels[:IMAGE_BYTES].reshape(CROP, CROP, 3)
    assert difference(image, picture(40, 40).resize((CROP, CROP), 2)) < 1
    hold.release()
