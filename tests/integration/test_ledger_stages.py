"""The ledger takes whatever stages its callers have: where chunks begin, and what a loss counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.ledger import ChunkRef, GivenBack, Ledger
from shared.ledger.chunks import MAX_REFUSALS
from shared.stages import INFERENCE, PREPROCESS, RESULTS, STAGES, QueueInfo, Stage, queue_name
from tests.support.ledger_steps import FIRST, INC, SECOND, UID, A, B, feed
from tests.support.waiting import wait_for

RENDER = Stage("render", role="render", task="headrace.render")
TRAIN = Stage("train", role="trainer", task="headrace.train", long=True)
RENDER_FIRST = QueueInfo(queue_name(RENDER), RENDER, "bulk")
OTHER_UID = "3" * 16


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in (RENDER, TRAIN):
        monkeypatch.setitem(STAGES, stage.name, stage)


def feed_other(ledger: Ledger, bound: int = 9) -> list[ChunkRef]:
    return ledger.feed(INC, OTHER_UID, 0, 3, bound=bound)[1]


def depart(ledger: Ledger) -> list[ChunkRef]:
    ledger.depart(INC, A)
    return ledger.rescue_held(INC)


def test_each_job_begins_and_begins_again_at_its_own_first_stage(
    ledger: Ledger, client: Any
) -> None:
    ledger.register_job(INC, OTHER_UID, "other", RENDER_FIRST)
    feed(ledger, 0, 2)
    refs = feed_other(ledger, bound=3)  # whose queue has room, however full another is
    assert [ledger.queued_count(q) for q in (FIRST, RENDER_FIRST.name)] == [2, 3]
    given, held, missed = refs
    for ref in (given, held):
        ledger.claim(ref, RENDER, A)
    again = replace(given, attempt=2)
    assert ledger.give_back(given, RENDER, A) == GivenBack(again, "render", RENDER_FIRST.name)
    assert depart(ledger) == [replace(held, attempt=2)]
    client.zadd(f"hr:queued:{RENDER_FIRST.name}", {missed.name: 0})  # the oldest, on any clock
    assert ledger.rescue_queued(INC, RENDER_FIRST.name, 1) == [replace(missed, attempt=2)]
    places = ledger.places([OTHER_UID])
    assert {(p.state, p.stage, p.owner) for p in places} == {("queued", RENDER, RENDER_FIRST.name)}
    assert ledger.queued_count(FIRST) == 2


def test_a_job_begins_where_it_was_last_registered_to_begin(ledger: Ledger) -> None:
    """The producer sends to the first queue of the spec, so the ledger must queue there, too."""
    (before,) = feed(ledger)
    ledger.register_job(INC, UID, "job", RENDER_FIRST)
    feed(ledger, 1, 2)
    assert (ledger.queued_count(FIRST), ledger.queued_count(RENDER_FIRST.name)) == (1, 1)
    ledger.claim(before, PREPROCESS, A)
    again = GivenBack(replace(before, attempt=2), "render", RENDER_FIRST.name)
    assert ledger.give_back(before, PREPROCESS, A) == again


def test_which_stages_touch_pixels_and_which_is_the_last_stands_in_the_table(
    ledger: Ledger, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = [
        Stage("cut", role="cutter", task="headrace.cut", writes_pixels=True),
        Stage("look", role="looker", task="headrace.look", reads_pixels=True),
        Stage("tidy", role="tidier", task="headrace.tidy"),
        Stage("file", role="filer", task="headrace.file", last=True),
    ]
    for name in list(STAGES):
        monkeypatch.delitem(STAGES, name)
    for stage in stages:
        monkeypatch.setitem(STAGES, stage.name, stage)
    cut, look, tidy, file = stages
    ledger.register_job(INC, UID, "job", QueueInfo(queue_name(cut), cut, "bulk"))
    ref, refused = feed(ledger, 0, 2)
    where = []
    for stage, following in ((cut, look), (look, tidy), (tidy, file)):
        ledger.claim(ref, stage, A)
        where.append((ledger.still_needed([ref]), ledger.still_staged([ref])))
        ledger.advance(ref, stage, A, following, queue_name(following))
    assert where == [([True], [False]), ([True], [True]), ([False], [False])]
    ledger.claim(ref, file, A)
    ledger.finish(ref, A, {})
    assert ledger.done_between(UID, 0, 2) == 1

    for attempt in range(1, MAX_REFUSALS + 1):
        ledger.refuse(replace(refused, attempt=attempt), cut)
        client.zadd("hr:waiting", {refused.name: 0}, xx=True)
        ledger.rescue_held(INC)
    client.zadd("hr:refused", {refused.name: 0})
    given_up = replace(refused, attempt=MAX_REFUSALS + 1)
    assert ledger.give_up(INC, queue_name(file)) == [given_up]
    ledger.claim(given_up, file, A)
    ledger.finish(given_up, A, {})
    assert ledger.done_between(UID, 0, 2) == 2


def test_losses_are_counted_for_the_stage_that_lost_the_holder(ledger: Ledger, client: Any) -> None:
    (ref,) = feed(ledger)
    route = [(PREPROCESS, RENDER), (RENDER, INFERENCE), (INFERENCE, RESULTS)]
    for attempt, lost_at in enumerate((RENDER, INFERENCE, RENDER), start=2):
        for stage, following in route:
            ledger.claim(ref, stage, A)
            if stage == lost_at:
                break
            ledger.advance(ref, stage, A, following, f"queue.of.{following.name}")
        depart(ledger)
        client.zadd("hr:waiting", {ref.name: 0}, xx=True)
        ledger.rescue_held(INC)
        ref = replace(ref, attempt=attempt)
    losses = {}
    for stage, following in route:
        losses[stage.name] = ledger.claim(ref, stage, A).losses
        ledger.advance(ref, stage, A, following, f"queue.of.{following.name}")
    assert losses == {"preprocess": 0, "render": 2, "inference": 1}


def test_a_long_stage_costs_a_chunk_its_holder_and_nothing_more(
    ledger: Ledger, client: Any
) -> None:
    (ref,) = feed(ledger)
    for attempt in (2, 3):
        ledger.claim(ref, PREPROCESS, B)
        ledger.advance(ref, PREPROCESS, B, TRAIN, queue_name(TRAIN))
        assert ledger.claim(ref, TRAIN, A).losses == 0
        assert ledger.mark_running_alone(ref, TRAIN, A, 5) == 0
        ref = replace(ref, attempt=attempt)
        rescued = depart(ledger)
        if attempt == 2:
            assert rescued == [ref]
        else:  # it waits as any other that is lost again
            assert rescued == []
            assert [p.state for p in ledger.places([UID])] == ["waiting"]
            client.zadd("hr:waiting", {ref.name: 0})
            assert ledger.rescue_held(INC) == [ref]
    assert client.keys(f"hr:{UID}:trial:*") == []


def test_a_stage_that_the_table_does_not_have_breaks_nothing(ledger: Ledger) -> None:
    gone = Stage("gone", role="gone", task="headrace.gone")
    (ref,) = feed(ledger)
    ledger.claim(ref, PREPROCESS, A)
    ledger.advance(ref, PREPROCESS, A, gone, SECOND)
    assert ledger.places([UID]) == []
    assert ledger.claim(ref, gone, A).losses == 0
    again = wait_for(lambda: depart(ledger), what="its rescue")
    assert again == [replace(ref, attempt=2)]
    assert ledger.claim(again[0], PREPROCESS, A).losses == 0
