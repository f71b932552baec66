"""What waits for a host without inference workers: drained, or left alone. On a real ledger."""

from __future__ import annotations

from producer.lead.leader import RESCUE_SECONDS, Leader
from producer.lead.rescue import DRAIN_LEASES
from shared.ledger import WorkerIdentity
from tests.support.producer_harness import LEASE_SECONDS, SECOND, Yard

PATIENCE_SECONDS = DRAIN_LEASES * LEASE_SECONDS
OWN = WorkerIdentity("inference", "i-1", "testhost", pid=1, nonce="1")
OTHER = WorkerIdentity("inference", "i-1", "otherhost", pid=1, nonce="1")
NO_DEVICE = WorkerIdentity("preprocess", "p-2", "otherhost", pid=2, nonce="1")


def staged(yard: Yard) -> Leader:
    """Three chunks of four wait for the inference worker of ``testhost``."""
    yard.add_job(4)
    leader = yard.lead()
    yard.until(leader, lambda: yard.queued() == 4, "all chunks")
    for _ in range(3):
        yard.stage()
    yard.pass_time(leader, LEASE_SECONDS)
    return leader


def pass_time(yard: Yard, leader: Leader, seconds: float, *alive: WorkerIdentity) -> None:
    """Let time pass for the producer, while these live."""
    for _ in range(int(seconds / RESCUE_SECONDS)):
        for worker in alive:
            yard.ledger.renew(str(yard.ledger.incarnation()), worker, [])
        yard.pass_time(leader, RESCUE_SECONDS)


def test_a_host_that_stays_away_is_drained_when_another_could_do_it(yard: Yard) -> None:
    leader = staged(yard)
    pass_time(yard, leader, PATIENCE_SECONDS, OTHER)
    assert (yard.ledger.queued_count(SECOND), yard.attempts()) == (3, {1})
    pass_time(yard, leader, RESCUE_SECONDS, OTHER)
    assert (yard.ledger.queued_count(SECOND), yard.broker.ready_length(SECOND)) == (0, 0)
    assert yard.queued() == 4
    taken = [yard.claim() for _ in range(4)]
    assert sorted((m.chunk, m.attempt) for m in taken) == [(0, 2), (1, 2), (2, 2), (3, 1)]


def test_what_comes_to_a_deserted_queue_later_is_drained_too(yard: Yard) -> None:
    leader = staged(yard)
    pass_time(yard, leader, PATIENCE_SECONDS + RESCUE_SECONDS, OTHER)
    message = yard.stage()
    assert message.attempt == 1
    pass_time(yard, leader, PATIENCE_SECONDS + 2 * RESCUE_SECONDS, OTHER)
    assert yard.ledger.queued_count(SECOND) == 0
    assert yard.broker.sent[message.job_uid, message.chunk, 2] == 1


def test_a_host_whose_worker_lives_is_left_alone(yard: Yard) -> None:
    leader = staged(yard)
    pass_time(yard, leader, 3 * PATIENCE_SECONDS, OWN, OTHER)
    assert (yard.ledger.queued_count(SECOND), yard.attempts()) == (3, {1})


def test_where_no_device_lives_anywhere_nothing_is_drained(yard: Yard) -> None:
    leader = staged(yard)
    pass_time(yard, leader, 3 * PATIENCE_SECONDS, NO_DEVICE)
    assert (yard.ledger.queued_count(SECOND), yard.attempts()) == (3, {1})


def test_a_worker_that_starts_again_in_time_finds_its_queue(yard: Yard) -> None:
    leader = staged(yard)
    for _ in range(3):
        pass_time(yard, leader, PATIENCE_SECONDS - RESCUE_SECONDS, OTHER)
        pass_time(yard, leader, RESCUE_SECONDS, OTHER, OWN)
        yard.ledger.depart(str(yard.ledger.incarnation()), OWN)
    assert (yard.ledger.queued_count(SECOND), yard.attempts()) == (3, {1})


def test_after_an_outage_hosts_have_all_their_time_again(yard: Yard) -> None:
    leader = staged(yard)
    pass_time(yard, leader, PATIENCE_SECONDS - RESCUE_SECONDS, OTHER)
    leader.hold_off()
    pass_time(yard, leader, PATIENCE_SECONDS, OTHER)
    assert (yard.ledger.queued_count(SECOND), yard.attempts()) == (3, {1})
