"""The stage on real slots: what becomes of items, slots and errors. No broker, no ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast
from unittest import mock

import numpy as np
import pytest

from shared.errors import TransientError
from shared.ledger import ChunkRef, Stage
from shared.messages import Batch, Chunk, Item, Parcel, Slot
from shared.queues import INFERENCE_TASK, inference_queue
from shared.settings import RingSettings
from shared.staging import NetworkStaging, SlotGone, StagingRing, WriteHold, create_ring, open_ring
from shared.storage import StoreUnavailable
from tests.fake_network import Parcels
from tests.fake_store import FakeStore
from tests.pictures import difference, encoded, picture
from tests.samples import INCARNATION, JOB_UID, pipeline
from tests.waiting import wait_for
from workers.preprocess import fetch, fill, routes, stage, suspects
from workers.preprocess.fetch import Fetcher
from workers.preprocess.routes import Routes
from workers.preprocess.stage import PreprocessStage
from workers.preprocess.suspects import filling_in_child
from workers.runtime import Forward, GiveBack
from workers.suspects import MOST_LOST_RUNS, SUSPECT_LOSSES

CROP = 8
IMAGE_BYTES = CROP * CROP * 3
PIPELINE = pipeline(preprocess={"resize_shorter_pixels": CROP, "crop_pixels": CROP})
SLOTS = 2
KILLED_CHILD = "tests.killed_decoder"
GREEDY_CHILD = "tests.greedy_decoder"


@pytest.fixture
def ring(tmp_path: Path) -> StagingRing:
    settings = RingSettings(
        directory=tmp_path / "ring", slot_bytes=(4 * IMAGE_BYTES,), slot_counts=(SLOTS,)
    )
    create_ring(settings)
    return open_ring(settings, "here")


def all_staged(refs: list[ChunkRef]) -> list[bool]:
    return [True for _ in refs]


def nothing_staged(refs: list[ChunkRef]) -> list[bool]:
    return [False for _ in refs]


@pytest.fixture
def store() -> FakeStore:
    """Squares of one gray each, among which the second cannot be decoded."""
    objects = {
        f"{gray}.png": encoded(picture(CROP, CROP).point([gray] * 768)) for gray in (1, 2, 3)
    }
    return FakeStore({"0.png": b"text", **objects})


def nothing_lost(ref: ChunkRef, item: int | None) -> int:
    return 0


def make_stage(
    store: FakeStore,
    ring: StagingRing,
    stopping: threading.Event | None = None,
    staged: Callable[[list[ChunkRef]], list[bool]] = nothing_staged,
    patience_seconds: float = 10.0,
    note: Callable[[ChunkRef, int | None], int] = nothing_lost,
    network: Parcels | None = None,
    waiting: Callable[[], dict[str, int]] = dict,
) -> PreprocessStage:
    stopping = stopping or threading.Event()
    fetcher = Fetcher(lambda _: store, stopping, patience_seconds)
    by_network, routes = cast(NetworkStaging, network), Routes("here", waiting)
    return PreprocessStage(fetcher, ring, by_network, routes, staged, note, stopping)


def chunk(items: list[Item], number: int = 1) -> Chunk:
    return Chunk(
        incarnation=INCARNATION,
        job_id="job",
        job_uid=JOB_UID,
        chunk=number,
        attempt=1,
        pipeline=PIPELINE,
        bucket="photos",
        items=items,
    )


def batch_of(outcome: Forward | GiveBack, host: str = "here") -> Batch:
    assert isinstance(outcome, Forward)
    assert (outcome.stage, outcome.task) == (Stage.INFERENCE, INFERENCE_TASK)
    assert outcome.queue == inference_queue(host)
    assert isinstance(outcome.message, Batch)
    return Batch.model_validate_json(outcome.message.model_dump_json())


def codes(batch: Batch) -> list[str | None]:
    return [item.failure and item.failure.error_code.value for item in batch.items]


def rows(ring: StagingRing, batch: Batch) -> np.ndarray:
    """What inference finds, each row as its one gray. Frees the slot."""
    assert isinstance(batch.staged, Slot)
    hold = ring.read(batch.staged, batch.ref)
    pixels = hold.pixels[: batch.staged.images * IMAGE_BYTES]
    pixels = pixels.reshape(batch.staged.images, -1).copy()
    hold.release()
    assert np.all(pixels == pixels[:, :1])
    return pixels[:, 0]


def all_slots_are_free(ring: StagingRing) -> bool:
    """Can every slot be taken at the first try, where the ledger wants to keep all it knows?"""
    held: list[WriteHold] = []
    try:
        for number in range(SLOTS):
            ref, turns = ChunkRef(INCARNATION, JOB_UID, 100 + number, 9), iter((False, True))
            held.append(ring.take(1, ref, staged=all_staged, stopping=partial(next, turns)))
    except TransientError:
        return False
    finally:
        for hold in held:
            hold.abandon()
    return True


def test_rows_are_dense_and_in_the_order_of_the_items(store: FakeStore, ring: StagingRing) -> None:
    items = store.items(["3.png", "0.png", "1.png", "2.png"])
    items.insert(3, Item(key="gone.png", etag="", size=1))
    outcome = make_stage(store, ring)(chunk(items))
    batch = batch_of(outcome)
    assert [entry.item for entry in batch.items] == items
    assert codes(batch) == [None, "not_an_image", None, "missing", None]
    assert [(e.width, e.height) for e in batch.items if not e.failure] == [(CROP, CROP)] * 3
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
    first = batch.items[0].failure
    assert first is not None
    assert "--batch-size" in first.error_message


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

    monkeypatch.setattr(stage, "_stage", defect)
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


def test_a_suspect_chunk_comes_out_as_any_other(store: FakeStore, ring: StagingRing) -> None:
    items = store.items(["3.png", "0.png", "1.png", "2.png"])
    outcome = make_stage(store, ring)(chunk(items), SUSPECT_LOSSES)
    batch = batch_of(outcome)
    assert codes(batch) == [None, "not_an_image", None, None]
    assert [(e.width, e.height) for e in batch.items if not e.failure] == [(CROP, CROP)] * 3
    assert isinstance(outcome, Forward)
    outcome.release()
    assert list(rows(ring, batch)) == [3, 1, 2]


def test_an_image_that_kills_its_process_fails_alone(
    store: FakeStore, ring: StagingRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "filling_in_child", partial(filling_in_child, module=KILLED_CHILD))
    items = store.items(["3.png", "0.png", "1.png", "2.png"])
    outcome = make_stage(store, ring)(chunk(items), SUSPECT_LOSSES)
    batch = batch_of(outcome)
    assert codes(batch) == [None, "killed_worker", None, None]
    killed = batch.items[1].failure
    assert killed is not None
    assert "SIGSEGV" in killed.error_message
    assert isinstance(outcome, Forward)
    outcome.release()
    assert list(rows(ring, batch)) == [3, 1, 2]


def test_an_image_on_which_workers_were_lost_five_times_is_tried_no_more(
    store: FakeStore, ring: StagingRing
) -> None:
    noted: list[int | None] = []

    def note(ref: ChunkRef, item: int | None) -> int:
        noted.append(item)
        return MOST_LOST_RUNS if item == 2 else MOST_LOST_RUNS - 1

    items = store.items(["3.png", "0.png", "1.png", "2.png"])
    del store.objects["0.png"]
    outcome = make_stage(store, ring, note=note)(chunk(items), SUSPECT_LOSSES)
    batch = batch_of(outcome)
    assert codes(batch) == [None, "missing", "killed_worker", None]
    assert noted == [0, None, 2, 3, None]  # an item has its place in the whole chunk
    assert isinstance(outcome, Forward)
    outcome.release()
    assert list(rows(ring, batch)) == [3, 2]


def test_an_image_that_wants_all_memory_fails_alone(
    store: FakeStore, ring: StagingRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "filling_in_child", partial(filling_in_child, module=GREEDY_CHILD))
    items = store.items(["3.png", "0.png", "1.png"])
    batch = batch_of(make_stage(store, ring)(chunk(items), SUSPECT_LOSSES))
    assert codes(batch) == [None, "bomb", None]


def test_a_suspect_chunk_is_given_back_where_no_child_can_be_had(
    store: FakeStore, ring: StagingRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspects, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(stage, "filling_in_child", partial(filling_in_child, module="no.such"))
    items = store.items(["3.png"])
    assert isinstance(make_stage(store, ring)(chunk(items), SUSPECT_LOSSES), GiveBack)
    assert all_slots_are_free(ring)


def elsewhere() -> dict[str, int]:
    return {"there": 0}


def test_pixels_for_another_host_go_over_the_network(store: FakeStore, ring: StagingRing) -> None:
    parcels = Parcels()
    outcome = make_stage(store, ring, network=parcels, waiting=elsewhere)(chunk(store.items()))
    batch = batch_of(outcome, "there")
    assert batch.staged == Parcel(images=3)
    assert codes(batch) == ["not_an_image", None, None, None]
    assert isinstance(outcome, Forward)
    outcome.release()
    assert list(parcels.sent[batch.ref].reshape(3, -1)[:, 0]) == [1, 2, 3]
    assert parcels.reserved == {batch.ref: 4 * IMAGE_BYTES}
    assert all_slots_are_free(ring)


def test_pixels_whose_chunk_was_given_away_leave_no_parcel(
    store: FakeStore, ring: StagingRing
) -> None:
    parcels = Parcels()
    outcome = make_stage(store, ring, network=parcels, waiting=elsewhere)(chunk(store.items()))
    assert isinstance(outcome, Forward)
    outcome.abandon()
    assert (parcels.sent, parcels.reserved) == ({}, {})


def test_a_chunk_without_pixels_goes_where_a_worker_lives(
    store: FakeStore, ring: StagingRing
) -> None:
    parcels = Parcels()
    gone = chunk([Item(key="gone.png", etag="", size=4)])
    batch = batch_of(make_stage(store, ring, network=parcels, waiting=elsewhere)(gone), "there")
    assert (batch.staged, codes(batch), parcels.reserved) == (None, ["missing"], {})


def test_a_parcel_that_lost_its_room_gives_the_chunk_back(
    store: FakeStore, ring: StagingRing
) -> None:
    parcels = Parcels(loses_room=True)
    preprocess = make_stage(store, ring, network=parcels, waiting=elsewhere)
    assert isinstance(preprocess(chunk(store.items())), GiveBack)
    assert (parcels.sent, parcels.reserved) == ({}, {})


def test_a_server_of_parcels_that_does_not_answer_is_waited_for(
    store: FakeStore, ring: StagingRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_LEDGER_PAUSE_SECONDS", 0.01)
    parcels = Parcels(refusals=3)
    outcome = make_stage(store, ring, network=parcels, waiting=elsewhere)(chunk(store.items()))
    assert batch_of(outcome, "there").staged == Parcel(images=3)
    assert parcels.refusals == 0


def test_who_waits_for_a_slot_turns_to_another_host_when_this_one_has_no_worker_left(
    store: FakeStore, ring: StagingRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "LOOK_SECONDS", 0.0)
    asked = threading.Event()

    def staged(refs: list[ChunkRef]) -> list[bool]:
        if len(refs) == SLOTS:
            asked.set()
        return all_staged(refs)

    def waiting() -> dict[str, int]:
        return {"there": 0} if asked.is_set() else {"here": 0, "there": 0}

    parcels = Parcels()
    preprocess = make_stage(store, ring, staged=staged, network=parcels, waiting=waiting)
    for number in range(SLOTS):
        outcome = preprocess(chunk(store.items(), number))
        assert isinstance(batch_of(outcome).staged, Slot)
        assert isinstance(outcome, Forward)
        outcome.release()
    batch = batch_of(preprocess(chunk(store.items(), 9)), "there")
    assert batch.staged == Parcel(images=3)
