"""What the producer feeds, what it rescues, and what it leaves alone, on a real ledger.

Its clock is the test's, so that passes come when they are due and not before; leases are Valkey's.
"""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from producer.lead.leader import RESCUE_SECONDS, Leader
from shared.errors import TransientError
from shared.keys import chunk_key
from shared.ledger import Ledger, Stale
from shared.messages import Chunk, Result
from shared.stages import INFERENCE, PREPROCESS, RESULTS
from tests.support.producer_harness import (
    BOUND,
    FIRST,
    LEASE_SECONDS,
    SECOND,
    THIRD,
    WORKER,
    ProducerHarness,
)
from tests.support.waiting import wait_for

HOUR = 3600.0


def test_the_queue_stays_at_its_bound_until_somebody_takes(harness: ProducerHarness) -> None:
    harness.add_job(20)
    leader = harness.lead()
    harness.fill(leader)
    for _ in range(50):
        leader.tick()
        assert harness.queued() == harness.broker.ready_length(FIRST) == BOUND
    harness.claim()
    leader.tick()
    assert harness.queued() == harness.broker.ready_length(FIRST) == BOUND
    assert sorted(chunk for _, chunk, _ in harness.broker.sent) == [0, 1, 2, 3, 4]


def test_a_message_has_the_items_of_its_chunk(harness: ProducerHarness) -> None:
    spec = harness.add_job(3)
    leader = harness.lead()
    harness.until(leader, lambda: harness.queued() == 3, "all chunks")
    messages = [harness.claim() for _ in range(3)]
    assert [m.chunk for m in messages] == [0, 1, 2]
    keys = [item.key for message in messages for item in message.items]
    assert keys == [f"job/{number:04d}.jpg" for number in range(5)]
    assert (messages[0].job_uid, messages[0].bucket) == (spec.job_uid, "input")
    assert messages[0].pipeline == spec.pipeline


def test_jobs_take_turns(harness: ProducerHarness) -> None:
    specs = [harness.add_job(40, job_id=f"job-{number}") for number in range(3)]
    leader = harness.lead()
    harness.until(leader, lambda: all(harness.sealed(s.job_id) for s in specs), "the seals")
    for _ in range(60):
        leader.tick()
        harness.finish(harness.claim())
    by_job = Counter(uid for uid, _, _ in harness.broker.sent)
    assert len(by_job) == 3
    assert min(by_job.values()) >= 15, by_job


def test_two_leaders_feed_nothing_twice(harness: ProducerHarness) -> None:
    spec = harness.add_job(60)
    first, second = harness.lead(), harness.lead()
    done = threading.Event()

    def lead(leader: Leader) -> None:
        while not done.is_set():
            leader.tick()

    threads = [threading.Thread(target=lead, args=(leader,)) for leader in (first, second)]
    for thread in threads:
        thread.start()
    seen: list[int] = []

    def consume() -> bool:
        while message := harness.broker.take():
            try:
                harness.ledger.claim(message.ref, PREPROCESS, WORKER)
            except Stale:  # what another leader is about to send again
                continue
            harness.finish(message)
            seen.append(message.chunk)
        return len(seen) == 60

    try:
        wait_for(consume, what="all chunks", every=0.01)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert sorted(seen) == list(range(60))
    assert set(harness.broker.sent) == {(spec.job_uid, chunk, 1) for chunk in range(60)}
    assert set(harness.broker.sent.values()) == {1}


def test_a_wiped_ledger_is_rebuilt_from_the_bucket(harness: ProducerHarness) -> None:
    harness.add_job(8)
    leader = harness.lead()
    harness.fill(leader)
    for _ in range(2):
        harness.finish(harness.claim())
    held = harness.claim()
    before = harness.ledger.incarnation()
    harness.client.flushall()
    harness.broker.sent.clear()
    harness.until(leader, lambda: harness.queued() == BOUND, "the queue filled again")
    assert harness.ledger.incarnation() not in (None, before)
    fed = [harness.claim() for _ in range(BOUND)]
    assert [message.chunk for message in fed] == [2, 3, 4, 5]
    assert {message.incarnation for message in fed} == {harness.ledger.incarnation()}
    with pytest.raises(Stale, match="incarnation"):
        harness.ledger.advance(held.ref, PREPROCESS, WORKER, INFERENCE, SECOND)


def test_a_new_leader_goes_on_where_the_last_one_was(harness: ProducerHarness) -> None:
    harness.add_job(8)
    first = harness.lead()
    harness.fill(first)
    harness.finish(harness.claim())
    first.end()
    second = harness.lead()
    harness.until(second, lambda: harness.queued() == BOUND, "the queue at its bound")
    assert sorted(chunk for _, chunk, _ in harness.broker.sent) == [0, 1, 2, 3, 4]


def test_a_lost_message_is_sent_again_after_two_passes_and_not_before(
    harness: ProducerHarness,
) -> None:
    harness.add_job(20)
    leader = harness.lead()
    harness.fill(leader)
    lost = harness.broker.take()
    assert lost is not None
    harness.pass_time(leader, LEASE_SECONDS)  # the last of them is the first pass of all
    assert harness.attempts() == {1}
    harness.pass_time(leader, RESCUE_SECONDS)
    assert harness.attempts() == {1, 2}
    assert harness.broker.ready_length(FIRST) == harness.queued() == BOUND
    again = [key for key in harness.broker.sent if key[2] == 2]
    assert again == [(lost.job_uid, lost.chunk, 2)]


def test_what_is_missing_in_one_pass_only_is_not_lost(harness: ProducerHarness) -> None:
    harness.add_job(20)
    leader = harness.lead()
    harness.fill(leader)
    harness.pass_time(leader, LEASE_SECONDS - RESCUE_SECONDS)
    for _ in range(10):
        text = harness.client.lpop(FIRST)
        harness.pass_time(leader, RESCUE_SECONDS)
        harness.client.lpush(FIRST, text)
        harness.pass_time(leader, RESCUE_SECONDS)
    assert harness.attempts() == {1}


def test_what_is_missing_in_one_sample_only_is_not_lost(harness: ProducerHarness) -> None:
    """It is with a worker that is about to claim it."""
    harness.add_job(20)
    leader = harness.lead()
    harness.fill(leader)
    length, calls = harness.broker.ready_length, iter(range(10**6))

    def one_sample_short(queue: str) -> int:
        return length(queue) - (next(calls) % 3 != 1)

    harness.broker.ready_length = one_sample_short  # type: ignore[method-assign]
    harness.pass_time(leader, 20)
    assert harness.attempts() == {1}


def test_after_an_outage_nothing_is_lost_for_one_lease(harness: ProducerHarness) -> None:
    harness.add_job(20)
    leader = harness.lead()
    harness.fill(leader)
    harness.pass_time(leader, 10)
    harness.broker.take()
    harness.pass_time(leader, RESCUE_SECONDS)
    leader.pause_rescue()
    harness.pass_time(leader, LEASE_SECONDS)
    assert harness.attempts() == {1}
    harness.pass_time(leader, RESCUE_SECONDS)
    assert harness.attempts() == {1, 2}


def test_queues_that_are_merely_full_are_left_alone(harness: ProducerHarness) -> None:
    """With nobody to infer, both queues stand full for an hour."""
    harness.add_job(20)
    leader = harness.lead()
    harness.fill(leader)
    for _ in range(5):
        harness.stage()
        leader.tick()
    harness.until(leader, lambda: harness.queued() == BOUND, "the queue at its bound")
    sent = dict(harness.broker.sent)
    for _ in range(60):
        harness.now += HOUR / 60
        leader.tick()
    assert dict(harness.broker.sent) == sent
    assert (harness.queued(), harness.ledger.queued_count(SECOND)) == (BOUND, 5)


def test_a_lost_batch_is_preprocessed_again(harness: ProducerHarness) -> None:
    harness.add_job(2)
    leader = harness.lead()
    harness.until(leader, lambda: harness.queued() == 2, "both chunks")
    lost, _ = harness.stage(), harness.stage()
    harness.client.lpop(SECOND)
    harness.pass_time(leader, LEASE_SECONDS + RESCUE_SECONDS)
    assert harness.ledger.queued_count(SECOND) == 1
    again = harness.claim()
    assert (again.chunk, again.attempt, again.items) == (lost.chunk, 2, lost.items)


def test_what_a_dead_worker_held_is_sent_again(harness: ProducerHarness) -> None:
    harness.add_job(2)
    leader = harness.lead()
    harness.until(leader, lambda: harness.queued() == 2, "both chunks")
    held = harness.claim()
    harness.now += HOUR
    leader.tick()
    assert harness.attempts() == {1}  # its lease stands
    wait_for(lambda: harness.ledger.workers() == [], what="the end of the lease")
    harness.pass_time(leader, RESCUE_SECONDS)
    assert harness.broker.sent[held.job_uid, held.chunk, 2] == 1


def test_a_chunk_that_nobody_takes_ends_as_failed_items(harness: ProducerHarness) -> None:
    spec = harness.add_job(2)
    leader = harness.lead()
    harness.until(leader, lambda: harness.queued() == 2, "both chunks")
    harness.ledger = Ledger(harness.client, pause_seconds=0.01)

    def sent(queue: str) -> str:
        """The next message that the producer sends there."""

        def look() -> str | None:
            harness.pass_time(leader, LEASE_SECONDS)
            return harness.client.lpop(queue)

        return wait_for(look, what=f"a message in {queue}", every=0.01)

    refused, taken = Chunk.model_validate_json(sent(FIRST)), harness.claim()
    for attempt in (2, 3):
        harness.ledger.refuse(refused.ref, PREPROCESS)
        refused = Chunk.model_validate_json(sent(FIRST))
        assert (refused.chunk, refused.attempt) == (0, attempt)
    harness.ledger.refuse(refused.ref, PREPROCESS)

    result = Result.model_validate_json(sent(THIRD))
    assert (result.job_id, result.chunk, result.attempt) == (spec.job_id, 0, 4)
    assert (result.pipeline, result.computed) == (spec.pipeline, {"classes": None})
    failures = result.answers["error_code"].to_pylist()
    assert failures == ["undeliverable"] * len(refused.items)
    harness.ledger.claim(result.ref, RESULTS, WORKER)
    harness.ledger.finish(result.ref, WORKER, {})
    harness.finish(taken)
    assert harness.ledger.done_between(spec.job_uid, 0, 2) == 2


def test_a_broker_that_was_away_gets_what_was_not_sent(harness: ProducerHarness) -> None:
    harness.add_job(3)
    leader = harness.lead()
    harness.broker.is_down = True
    with pytest.raises(TransientError):
        harness.until(leader, lambda: False, "nothing")
    harness.broker.is_down = False
    harness.until(leader, lambda: len(harness.broker.sent) == 3, "all messages")
    assert set(harness.broker.sent.values()) == {1}
    assert harness.attempts() == {1}


def test_a_reopened_chunk_is_fed_again(harness: ProducerHarness) -> None:
    spec = harness.add_job(2)
    leader = harness.lead()
    harness.until(leader, lambda: harness.queued() == 2, "both chunks")
    for _ in range(2):
        harness.finish(harness.claim())
    harness.pass_time(leader, 5)
    assert harness.queued() == 0
    harness.store.delete("state", chunk_key("job", 1))
    harness.ledger.reopen(str(harness.ledger.incarnation()), spec.job_uid, 1)
    harness.pass_time(leader, RESCUE_SECONDS)
    harness.until(leader, lambda: harness.queued() == 1, "the chunk")
    assert harness.claim().attempt > 1000


def test_a_rescued_chunk_whose_file_stands_is_done(harness: ProducerHarness) -> None:
    """Its collector died between the file and the record."""
    spec = harness.add_job(2)
    leader = harness.lead()
    harness.until(leader, lambda: harness.queued() == 2, "both chunks")
    lost = harness.stage()
    harness.client.lpop(SECOND)
    harness.store.put("state", chunk_key("job", lost.chunk), b"rows")
    harness.pass_time(leader, LEASE_SECONDS + 2 * RESCUE_SECONDS)
    assert harness.attempts() == {1}
    assert harness.ledger.done_between(spec.job_uid, 0, 2) == 1
    assert harness.ledger.live_chunks(spec.job_uid) == [1 - lost.chunk]


def test_what_a_broker_forgot_of_its_last_second_is_not_done_again(
    harness: ProducerHarness,
) -> None:
    spec = harness.add_job(2)
    leader = harness.lead()
    harness.until(leader, lambda: harness.queued() == 2, "both chunks")
    for _ in range(2):
        harness.claim()
    for chunk in range(2):
        harness.store.put("state", chunk_key("job", chunk), b"rows")
    live = f"hr:{spec.job_uid}:live"
    harness.client.hset(live, 0, f"queued preprocess 1 {FIRST} 0 0 - 1")
    harness.client.hdel(live, 1)  # that it was ever fed is forgotten too
    leader.pause_rescue()
    harness.pass_time(leader, 3 * RESCUE_SECONDS)
    assert harness.ledger.done_between(spec.job_uid, 0, 2) == 2
    assert harness.ledger.live_chunks(spec.job_uid) == []
    assert harness.attempts() == {1}
