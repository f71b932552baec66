"""What becomes of a job that another version of the ledger's scripts has opened and fed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from shared.ledger import ChunkRef, Ledger, Stale
from shared.stages import INFERENCE, PREPROCESS, RESULTS
from tests.support.ledger_steps import (
    FIRST,
    INC,
    SECOND,
    THIRD,
    UID,
    A,
    B,
    feed,
    lose,
    stale,
    take_to,
)
from tests.support.producer_harness import BOUND, RESCUE_SECONDS, WORKER, ProducerHarness
from tests.support.samples import FIRST_QUEUE
from tests.support.waiting import wait_for

LIVE = f"hr:{UID}:live"
UNREADABLE = {
    "no time": "queued preprocess 1 {queue} 0 0 0 0 0 -",
    "no counts": "queued preprocess 1 {queue}",
    "longer": "queued preprocess 1 {queue} 0 0 0 0 0 0 0 0 - 1",
    "empty": "",
}


def make_old(client: Any, uid: str = UID) -> None:
    """Write the job as the version before: counts of losses in its entries, and no first stage."""
    client.hdel(f"hr:job:{uid}", "first_stage", "first_queue")
    for chunk, line in client.hgetall(f"hr:{uid}:live").items():
        words = line.split()
        client.hset(f"hr:{uid}:live", chunk, " ".join((*words[:4], "1", "0", "2", *words[4:])))


def open_again(ledger: Ledger) -> None:
    """What a leader does when it begins to lead."""
    ledger.register_job(INC, UID, "job", FIRST_QUEUE)


def test_chunks_of_the_version_before_go_on_where_they_are(client: Any, ledger: Ledger) -> None:
    queued, held, staged, waiting = feed(ledger, 0, 4)
    for _ in range(2):
        lose(ledger, waiting)  # the second time it waits
        waiting = replace(waiting, attempt=waiting.attempt + 1)
    ledger.claim(held, PREPROCESS, B)
    ledger.claim(staged, PREPROCESS, B)
    ledger.advance(staged, PREPROCESS, B, INFERENCE, SECOND)
    before = ledger.places([UID])
    make_old(client)
    open_again(ledger)

    after = ledger.places([UID])
    assert [replace(place, seconds=0) for place in after] == [
        replace(place, seconds=0) for place in before
    ]
    assert feed(ledger, 0, 4) == []  # all of them are still known
    assert ledger.still_staged([staged]) == [True]
    ledger.advance(held, PREPROCESS, B, INFERENCE, SECOND)
    client.zadd("hr:waiting", {waiting.name: 0})
    assert ledger.rescue_held(INC) == [waiting]
    for ref in (queued, waiting):
        ledger.claim(ref, PREPROCESS, A)
        ledger.advance(ref, PREPROCESS, A, INFERENCE, SECOND)
    for ref in (queued, held, staged, waiting):
        assert ledger.claim(ref, INFERENCE, A).losses == 0
        ledger.advance(ref, INFERENCE, A, RESULTS, THIRD)
        ledger.claim(ref, RESULTS, A)
        ledger.finish(ref, A, {})
    assert ledger.done_between(UID, 0, 4) == 4


def test_until_a_producer_opens_an_old_job_its_chunks_wait(client: Any, ledger: Ledger) -> None:
    queued, held = feed(ledger, 0, 2)
    ledger.claim(held, PREPROCESS, A)
    make_old(client)
    assert stale(lambda: ledger.feed(INC, UID, 2, 3, bound=9)) == "job"
    assert stale(lambda: ledger.give_back(held, PREPROCESS, A)) == "job"
    ledger.depart(INC, A)
    assert ledger.rescue_held(INC) == ledger.rescue_queued(INC, FIRST, 1) == []
    assert ledger.live_chunks(UID) == [queued.chunk, held.chunk]

    open_again(ledger)
    assert set(ledger.rescue_held(INC)) == {replace(ref, attempt=2) for ref in (queued, held)}
    assert ledger.queued_count(FIRST) == 2


@pytest.mark.parametrize("line", UNREADABLE.values(), ids=UNREADABLE)
def test_an_entry_that_cannot_be_read_stops_nothing_and_is_fed_again(
    client: Any, ledger: Ledger, line: str
) -> None:
    ref, other = feed(ledger, 0, 2)
    ledger.claim(ref, PREPROCESS, A)
    client.hset(LIVE, ref.chunk, line.format(queue=FIRST))

    assert [place.chunk for place in ledger.places([UID])] == [other.chunk]
    assert stale(lambda: ledger.claim(ref, PREPROCESS, B)) == "done"
    assert stale(lambda: ledger.advance(ref, PREPROCESS, A, INFERENCE, SECOND)) == "done"
    assert stale(lambda: ledger.give_back(ref, PREPROCESS, A)) == "done"
    assert stale(lambda: ledger.finish(ref, A, {})) == "job"
    assert stale(lambda: ledger.refuse(ref, PREPROCESS)) == "done"
    assert ledger.still_staged([ref]) == [False]
    ledger.depart(INC, A)
    assert ledger.rescue_held(INC) == []
    assert feed(ledger, 0, 2) == [ChunkRef(INC, UID, ref.chunk, 1)]
    take_to(ledger, ref, RESULTS)
    ledger.finish(ref, A, {})


@pytest.mark.parametrize("line", UNREADABLE.values(), ids=UNREADABLE)
def test_an_entry_that_cannot_be_read_goes_with_its_chunk_or_job(
    client: Any, ledger: Ledger, line: str
) -> None:
    first, _ = feed(ledger, 0, 2)
    for chunk in (0, 1):
        client.hset(LIVE, chunk, line.format(queue=FIRST))
    ledger.register_job(INC, UID, "job", FIRST_QUEUE, [first.chunk])
    assert ledger.live_chunks(UID) == [1]
    assert ledger.done_between(UID, 0, 2) == 1
    ledger.cancel_job(INC, UID)
    assert ledger.live_chunks(UID) == []
    ledger.close_job(INC, UID)
    assert ledger.jobs() == []
    # What the owners still have of them is dropped when somebody looks.
    assert ledger.rescue_queued(INC, FIRST, 9) == []
    assert ledger.queues() == []


@pytest.mark.parametrize("is_readable", [True, False])
def test_a_new_leader_ends_what_the_version_before_began(
    harness: ProducerHarness, is_readable: bool
) -> None:
    spec = harness.add_job(5)
    before = harness.lead()
    harness.until(before, lambda: harness.queued() == BOUND, "the queue at its bound")
    harness.finish(harness.claim())
    held = harness.claim()
    before.end()
    make_old(harness.client, spec.job_uid)
    if not is_readable:
        for chunk in harness.ledger.live_chunks(spec.job_uid):
            harness.client.hset(f"hr:{spec.job_uid}:live", chunk, "of another form")

    leader = harness.lead()
    done = harness.ledger.done_between
    if is_readable:
        leader.tick()
        harness.finish(held)

    def work() -> bool:
        harness.now += RESCUE_SECONDS
        leader.tick()
        while message := harness.broker.take():
            with suppress(Stale):
                harness.ledger.claim(message.ref, PREPROCESS, WORKER)
                harness.finish(message)
        return done(spec.job_uid, 0, 5) == 5

    wait_for(work, what="all chunks", every=0.01)
    if is_readable:  # nothing was sent a second time
        assert set(harness.broker.sent.values()) == {1}
        assert harness.attempts() == {1}
