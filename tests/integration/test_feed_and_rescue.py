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
from tests.support.producer_harness import BOUND, FIRST, LEASE_SECONDS, SECOND, THIRD, WORKER, Yard
from tests.support.waiting import wait_for

HOUR = 3600.0


def test_the_queue_stays_at_its_bound_until_somebody_takes(yard: Yard) -> None:
    yard.add_job(20)
    leader = yard.lead()
    yard.fill(leader)
    for _ in range(50):
        leader.tick()
        assert yard.queued() == yard.broker.ready_length(FIRST) == BOUND
    yard.claim()
    leader.tick()
    assert yard.queued() == yard.broker.ready_length(FIRST) == BOUND
    assert sorted(chunk for _, chunk, _ in yard.broker.sent) == [0, 1, 2, 3, 4]


def test_a_message_has_the_items_of_its_chunk(yard: Yard) -> None:
    spec = yard.add_job(3)
    leader = yard.lead()
    yard.until(leader, lambda: yard.queued() == 3, "all chunks")
    messages = [yard.claim() for _ in range(3)]
    assert [m.chunk for m in messages] == [0, 1, 2]
    keys = [item.key for message in messages for item in message.items]
    assert keys == [f"job/{number:04d}.jpg" for number in range(5)]
    assert (messages[0].job_uid, messages[0].bucket) == (spec.job_uid, "input")
    assert messages[0].pipeline == spec.pipeline


def test_jobs_take_turns(yard: Yard) -> None:
    specs = [yard.add_job(40, job_id=f"job-{number}") for number in range(3)]
    leader = yard.lead()
    yard.until(leader, lambda: all(yard.sealed(s.job_id) for s in specs), "the seals")
    for _ in range(60):
        leader.tick()
        yard.finish(yard.claim())
    by_job = Counter(uid for uid, _, _ in yard.broker.sent)
    assert len(by_job) == 3
    assert min(by_job.values()) >= 15, by_job


def test_two_leaders_feed_nothing_twice(yard: Yard) -> None:
    spec = yard.add_job(60)
    first, second = yard.lead(), yard.lead()
    done = threading.Event()

    def lead(leader: Leader) -> None:
        while not done.is_set():
            leader.tick()

    threads = [threading.Thread(target=lead, args=(leader,)) for leader in (first, second)]
    for thread in threads:
        thread.start()
    seen: list[int] = []

    def consume() -> bool:
        while message := yard.broker.take():
            try:
                yard.ledger.claim(message.ref, PREPROCESS, WORKER)
            except Stale:  # what another leader is about to send again
                continue
            yard.finish(message)
            seen.append(message.chunk)
        return len(seen) == 60

    try:
        wait_for(consume, what="all chunks", every=0.01)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert sorted(seen) == list(range(60))
    assert set(yard.broker.sent) == {(spec.job_uid, chunk, 1) for chunk in range(60)}
    assert set(yard.broker.sent.values()) == {1}


def test_a_wiped_ledger_is_rebuilt_from_the_bucket(yard: Yard) -> None:
    yard.add_job(8)
    leader = yard.lead()
    yard.fill(leader)
    for _ in range(2):
        yard.finish(yard.claim())
    held = yard.claim()
    before = yard.ledger.incarnation()
    yard.client.flushall()
    yard.broker.sent.clear()
    yard.until(leader, lambda: yard.queued() == BOUND, "the queue filled again")
    assert yard.ledger.incarnation() not in (None, before)
    fed = [yard.claim() for _ in range(BOUND)]
    assert [message.chunk for message in fed] == [2, 3, 4, 5]
    assert {message.incarnation for message in fed} == {yard.ledger.incarnation()}
    with pytest.raises(Stale, match="incarnation"):
        yard.ledger.advance(held.ref, PREPROCESS, WORKER, INFERENCE, SECOND)


def test_a_new_leader_goes_on_where_the_last_one_was(yard: Yard) -> None:
    yard.add_job(8)
    first = yard.lead()
    yard.fill(first)
    yard.finish(yard.claim())
    first.end()
    second = yard.lead()
    yard.until(second, lambda: yard.queued() == BOUND, "the queue at its bound")
    assert sorted(chunk for _, chunk, _ in yard.broker.sent) == [0, 1, 2, 3, 4]


def test_a_lost_message_is_sent_again_after_two_passes_and_not_before(yard: Yard) -> None:
    yard.add_job(20)
    leader = yard.lead()
    yard.fill(leader)
    lost = yard.broker.take()
    assert lost is not None
    yard.pass_time(leader, LEASE_SECONDS)  # the last of them is the first pass of all
    assert yard.attempts() == {1}
    yard.pass_time(leader, RESCUE_SECONDS)
    assert yard.attempts() == {1, 2}
    assert yard.broker.ready_length(FIRST) == yard.queued() == BOUND
    again = [key for key in yard.broker.sent if key[2] == 2]
    assert again == [(lost.job_uid, lost.chunk, 2)]


def test_what_is_missing_in_one_pass_only_is_not_lost(yard: Yard) -> None:
    yard.add_job(20)
    leader = yard.lead()
    yard.fill(leader)
    yard.pass_time(leader, LEASE_SECONDS - RESCUE_SECONDS)
    for _ in range(10):
        text = yard.client.lpop(FIRST)
        yard.pass_time(leader, RESCUE_SECONDS)
        yard.client.lpush(FIRST, text)
        yard.pass_time(leader, RESCUE_SECONDS)
    assert yard.attempts() == {1}


def test_what_is_missing_in_one_sample_only_is_not_lost(yard: Yard) -> None:
    """It is with a worker that is about to claim it."""
    yard.add_job(20)
    leader = yard.lead()
    yard.fill(leader)
    length, calls = yard.broker.ready_length, iter(range(10**6))

    def one_sample_short(queue: str) -> int:
        return length(queue) - (next(calls) % 3 != 1)

    yard.broker.ready_length = one_sample_short  # type: ignore[method-assign]
    yard.pass_time(leader, 20)
    assert yard.attempts() == {1}


def test_after_an_outage_nothing_is_lost_for_one_lease(yard: Yard) -> None:
    yard.add_job(20)
    leader = yard.lead()
    yard.fill(leader)
    yard.pass_time(leader, 10)
    yard.broker.take()
    yard.pass_time(leader, RESCUE_SECONDS)
    leader.hold_off()
    yard.pass_time(leader, LEASE_SECONDS)
    assert yard.attempts() == {1}
    yard.pass_time(leader, RESCUE_SECONDS)
    assert yard.attempts() == {1, 2}


def test_queues_that_are_merely_full_are_left_alone(yard: Yard) -> None:
    """With nobody to infer, both queues stand full for an hour."""
    yard.add_job(20)
    leader = yard.lead()
    yard.fill(leader)
    for _ in range(5):
        yard.stage()
        leader.tick()
    yard.until(leader, lambda: yard.queued() == BOUND, "the queue at its bound")
    sent = dict(yard.broker.sent)
    for _ in range(60):
        yard.now += HOUR / 60
        leader.tick()
    assert dict(yard.broker.sent) == sent
    assert (yard.queued(), yard.ledger.queued_count(SECOND)) == (BOUND, 5)


def test_a_lost_batch_is_preprocessed_again(yard: Yard) -> None:
    yard.add_job(2)
    leader = yard.lead()
    yard.until(leader, lambda: yard.queued() == 2, "both chunks")
    lost, _ = yard.stage(), yard.stage()
    yard.client.lpop(SECOND)
    yard.pass_time(leader, LEASE_SECONDS + RESCUE_SECONDS)
    assert yard.ledger.queued_count(SECOND) == 1
    again = yard.claim()
    assert (again.chunk, again.attempt, again.items) == (lost.chunk, 2, lost.items)


def test_what_a_dead_worker_held_is_sent_again(yard: Yard) -> None:
    yard.add_job(2)
    leader = yard.lead()
    yard.until(leader, lambda: yard.queued() == 2, "both chunks")
    held = yard.claim()
    yard.now += HOUR
    leader.tick()
    assert yard.attempts() == {1}  # its lease stands
    wait_for(lambda: yard.ledger.workers() == [], what="the end of the lease")
    yard.pass_time(leader, RESCUE_SECONDS)
    assert yard.broker.sent[held.job_uid, held.chunk, 2] == 1


def test_a_chunk_that_nobody_takes_ends_as_failed_items(yard: Yard) -> None:
    spec = yard.add_job(2)
    leader = yard.lead()
    yard.until(leader, lambda: yard.queued() == 2, "both chunks")
    yard.ledger = Ledger(yard.client, first_queue=FIRST, pause_seconds=0.01)

    def sent(queue: str) -> str:
        """The next message that the producer sends there."""

        def look() -> str | None:
            yard.pass_time(leader, LEASE_SECONDS)
            return yard.client.lpop(queue)

        return wait_for(look, what=f"a message in {queue}", every=0.01)

    refused, taken = Chunk.model_validate_json(sent(FIRST)), yard.claim()
    for attempt in (2, 3):
        yard.ledger.refuse(refused.ref, PREPROCESS)
        refused = Chunk.model_validate_json(sent(FIRST))
        assert (refused.chunk, refused.attempt) == (0, attempt)
    yard.ledger.refuse(refused.ref, PREPROCESS)

    result = Result.model_validate_json(sent(THIRD))
    assert (result.job_id, result.chunk, result.attempt) == (spec.job_id, 0, 4)
    assert (result.pipeline, result.engine) == (spec.pipeline, None)
    assert [item.item for item in result.items] == refused.items
    failures = [item.failure.error_code for item in result.items if item.failure]
    assert failures == ["undeliverable"] * len(refused.items)
    yard.ledger.claim(result.ref, RESULTS, WORKER)
    yard.ledger.finish(result.ref, WORKER, {})
    yard.finish(taken)
    assert yard.ledger.done_between(spec.job_uid, 0, 2) == 2


def test_a_broker_that_was_away_gets_what_was_not_sent(yard: Yard) -> None:
    yard.add_job(3)
    leader = yard.lead()
    yard.broker.is_down = True
    with pytest.raises(TransientError):
        yard.until(leader, lambda: False, "nothing")
    yard.broker.is_down = False
    yard.until(leader, lambda: len(yard.broker.sent) == 3, "all messages")
    assert set(yard.broker.sent.values()) == {1}
    assert yard.attempts() == {1}


def test_a_reopened_chunk_is_fed_again(yard: Yard) -> None:
    spec = yard.add_job(2)
    leader = yard.lead()
    yard.until(leader, lambda: yard.queued() == 2, "both chunks")
    for _ in range(2):
        yard.finish(yard.claim())
    yard.pass_time(leader, 5)
    assert yard.queued() == 0
    yard.store.delete("state", chunk_key("job", 1))
    yard.ledger.reopen(str(yard.ledger.incarnation()), spec.job_uid, 1)
    yard.pass_time(leader, RESCUE_SECONDS)
    yard.until(leader, lambda: yard.queued() == 1, "the chunk")
    assert yard.claim().attempt > 1000


def test_a_rescued_chunk_whose_file_stands_is_done(yard: Yard) -> None:
    """Its collector died between the file and the record."""
    spec = yard.add_job(2)
    leader = yard.lead()
    yard.until(leader, lambda: yard.queued() == 2, "both chunks")
    lost = yard.stage()
    yard.client.lpop(SECOND)
    yard.store.put("state", chunk_key("job", lost.chunk), b"rows")
    yard.pass_time(leader, LEASE_SECONDS + 2 * RESCUE_SECONDS)
    assert yard.attempts() == {1}
    assert yard.ledger.done_between(spec.job_uid, 0, 2) == 1
    assert yard.ledger.live_chunks(spec.job_uid) == [1 - lost.chunk]


def test_what_a_broker_forgot_of_its_last_second_is_not_done_again(yard: Yard) -> None:
    spec = yard.add_job(2)
    leader = yard.lead()
    yard.until(leader, lambda: yard.queued() == 2, "both chunks")
    for _ in range(2):
        yard.claim()
    for chunk in range(2):
        yard.store.put("state", chunk_key("job", chunk), b"rows")
    live = f"hr:{spec.job_uid}:live"
    yard.client.hset(live, 0, f"queued preprocess 1 {FIRST} 0 0 0")
    yard.client.hdel(live, 1)  # that it was ever fed is forgotten too
    leader.hold_off()
    yard.pass_time(leader, 3 * RESCUE_SECONDS)
    assert yard.ledger.done_between(spec.job_uid, 0, 2) == 2
    assert yard.ledger.live_chunks(spec.job_uid) == []
    assert yard.attempts() == {1}
