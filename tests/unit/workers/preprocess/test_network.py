"""Pixels for another host: when they go over the network, and what they leave behind."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from shared.item import Item
from shared.ledger import ChunkRef
from shared.messages import Parcel, Slot
from shared.staging import StagingRing
from tests.support.fake_network import Parcels
from tests.support.fake_store import FakeStore
from tests.support.gray_squares import (
    IMAGE_BYTES,
    SLOTS,
    all_slots_are_free,
    all_staged,
    batch_of,
    chunk,
    codes,
    gray_squares,
    make_stage,
    small_ring,
)
from workers.preprocess import routes, stage
from workers.runtime import Forward, GiveBack


@pytest.fixture
def ring(tmp_path: Path) -> StagingRing:
    return small_ring(tmp_path)


@pytest.fixture
def store() -> FakeStore:
    return gray_squares()


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
    monkeypatch.setattr(routes, "HOSTS_LOOK_SECONDS", 0.0)
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
