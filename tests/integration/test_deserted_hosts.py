"""What waits for a host without inference workers: drained, or left alone. On a real ledger."""

from __future__ import annotations

from producer.lead.leader import RESCUE_SECONDS, Leader
from producer.lead.rescue import DRAIN_LEASES
from shared.ledger import WorkerIdentity
from tests.support.producer_harness import LEASE_SECONDS, SECOND, ProducerHarness

PATIENCE_SECONDS = DRAIN_LEASES * LEASE_SECONDS
OWN = WorkerIdentity("inference", "i-1", "testhost", pid=1, nonce="1")
OTHER = WorkerIdentity("inference", "i-1", "otherhost", pid=1, nonce="1")
NO_DEVICE = WorkerIdentity("preprocess", "p-2", "otherhost", pid=2, nonce="1")


def staged(harness: ProducerHarness) -> Leader:
    """Three chunks of four wait for the inference worker of ``testhost``."""
    harness.add_job(4)
    leader = harness.lead()
    harness.until(leader, lambda: harness.queued() == 4, "all chunks")
    for _ in range(3):
        harness.stage()
    harness.pass_time(leader, LEASE_SECONDS)
    return leader


def pass_time(
    harness: ProducerHarness, leader: Leader, seconds: float, *alive: WorkerIdentity
) -> None:
    """Let time pass for the producer, while these live."""
    for _ in range(int(seconds / RESCUE_SECONDS)):
        for worker in alive:
            harness.ledger.renew(str(harness.ledger.incarnation()), worker, [])
        harness.pass_time(leader, RESCUE_SECONDS)


def test_a_host_that_stays_away_is_drained_when_another_could_do_it(
    harness: ProducerHarness,
) -> None:
    leader = staged(harness)
    pass_time(harness, leader, PATIENCE_SECONDS, OTHER)
    assert (harness.ledger.queued_count(SECOND), harness.attempts()) == (3, {1})
    pass_time(harness, leader, RESCUE_SECONDS, OTHER)
    assert (harness.ledger.queued_count(SECOND), harness.broker.ready_length(SECOND)) == (0, 0)
    assert harness.queued() == 4
    taken = [harness.claim() for _ in range(4)]
    assert sorted((m.chunk, m.attempt) for m in taken) == [(0, 2), (1, 2), (2, 2), (3, 1)]


def test_what_comes_to_a_deserted_queue_later_is_drained_too(harness: ProducerHarness) -> None:
    leader = staged(harness)
    pass_time(harness, leader, PATIENCE_SECONDS + RESCUE_SECONDS, OTHER)
    message = harness.stage()
    assert message.attempt == 1
    pass_time(harness, leader, PATIENCE_SECONDS + 2 * RESCUE_SECONDS, OTHER)
    assert harness.ledger.queued_count(SECOND) == 0
    assert harness.broker.sent[message.job_uid, message.chunk, 2] == 1


def test_a_host_whose_worker_lives_is_left_alone(harness: ProducerHarness) -> None:
    leader = staged(harness)
    pass_time(harness, leader, 3 * PATIENCE_SECONDS, OWN, OTHER)
    assert (harness.ledger.queued_count(SECOND), harness.attempts()) == (3, {1})


def test_where_no_device_lives_anywhere_nothing_is_drained(harness: ProducerHarness) -> None:
    leader = staged(harness)
    pass_time(harness, leader, 3 * PATIENCE_SECONDS, NO_DEVICE)
    assert (harness.ledger.queued_count(SECOND), harness.attempts()) == (3, {1})


def test_a_worker_that_starts_again_in_time_finds_its_queue(harness: ProducerHarness) -> None:
    leader = staged(harness)
    for _ in range(3):
        pass_time(harness, leader, PATIENCE_SECONDS - RESCUE_SECONDS, OTHER)
        pass_time(harness, leader, RESCUE_SECONDS, OTHER, OWN)
        harness.ledger.depart(str(harness.ledger.incarnation()), OWN)
    assert (harness.ledger.queued_count(SECOND), harness.attempts()) == (3, {1})


def test_after_an_outage_hosts_have_all_their_time_again(harness: ProducerHarness) -> None:
    leader = staged(harness)
    pass_time(harness, leader, PATIENCE_SECONDS - RESCUE_SECONDS, OTHER)
    leader.pause_rescue()
    pass_time(harness, leader, PATIENCE_SECONDS, OTHER)
    assert (harness.ledger.queued_count(SECOND), harness.attempts()) == (3, {1})
