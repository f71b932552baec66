"""The preprocess stage's suspect run, in a real child that dies, starves or cannot be had."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from shared.ledger import ChunkRef
from shared.staging import StagingRing
from tests.support.fake_store import FakeStore
from tests.support.gray_squares import (
    CROP,
    all_slots_are_free,
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
from workers.preprocess import stage, suspects
from workers.preprocess.suspects import decode_in_child
from workers.runtime import Forward, GiveBack
from workers.suspects import MAX_LOST_RUNS, SUSPECT_LOSSES

KILLED_CHILD = "tests.support.killed_decoder"
GREEDY_CHILD = "tests.support.greedy_decoder"


@pytest.fixture
def ring(tmp_path: Path) -> StagingRing:
    return small_ring(tmp_path)


@pytest.fixture
def store() -> FakeStore:
    return gray_squares()


def test_a_suspect_chunk_comes_out_as_any_other(store: FakeStore, ring: StagingRing) -> None:
    items = store.items(["3.png", "0.png", "1.png", "2.png"])
    outcome = make_stage(store, ring)(chunk(items), SUSPECT_LOSSES)
    batch = batch_of(outcome)
    assert codes(batch) == [None, "not_an_image", None, None]
    assert sizes(batch) == [(CROP, CROP)] * 3
    assert isinstance(outcome, Forward)
    outcome.release()
    assert list(rows(ring, batch)) == [3, 1, 2]


def test_an_image_that_kills_its_process_fails_alone(
    store: FakeStore, ring: StagingRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "decode_in_child", partial(decode_in_child, module=KILLED_CHILD))
    items = store.items(["3.png", "0.png", "1.png", "2.png"])
    outcome = make_stage(store, ring)(chunk(items), SUSPECT_LOSSES)
    batch = batch_of(outcome)
    assert codes(batch) == [None, "killed_worker", None, None]
    assert "SIGSEGV" in column(batch, "error_message")[1]
    assert isinstance(outcome, Forward)
    outcome.release()
    assert list(rows(ring, batch)) == [3, 1, 2]


def test_an_image_on_which_workers_were_lost_five_times_is_tried_no_more(
    store: FakeStore, ring: StagingRing
) -> None:
    noted: list[int | None] = []

    def note(ref: ChunkRef, item: int | None) -> int:
        noted.append(item)
        return MAX_LOST_RUNS if item == 2 else MAX_LOST_RUNS - 1

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
    monkeypatch.setattr(stage, "decode_in_child", partial(decode_in_child, module=GREEDY_CHILD))
    items = store.items(["3.png", "0.png", "1.png"])
    batch = batch_of(make_stage(store, ring)(chunk(items), SUSPECT_LOSSES))
    assert codes(batch) == [None, "bomb", None]


def test_a_suspect_chunk_is_given_back_where_no_child_can_be_had(
    store: FakeStore, ring: StagingRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspects, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(stage, "decode_in_child", partial(decode_in_child, module="no.such"))
    items = store.items(["3.png"])
    assert isinstance(make_stage(store, ring)(chunk(items), SUSPECT_LOSSES), GiveBack)
    assert all_slots_are_free(ring)
