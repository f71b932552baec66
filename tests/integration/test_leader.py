"""How the producer that leads comes to its jobs and parts from them, on a real ledger."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from producer.lead.leader import LOOK_SECONDS, RESCUE_SECONDS
from shared.errors import TransientError
from shared.job import Accounting, Closing, JobStop, MaxErrors
from shared.job_store import JobStore
from shared.keys import cancel_key, chunks_prefix, closed_key, segment_key, spec_key
from shared.manifest import ManifestReader
from shared.storage import AccessDenied, ObjectInfo
from tests.support.memory_store import MemoryStore
from tests.support.producer_harness import BOUND, Yard

ENDED = Closing(state="succeeded", accounting=Accounting())


def test_a_job_without_a_hint_is_found_by_looking(yard: Yard) -> None:
    leader = yard.lead()
    leader.tick()
    yard.add_job(1)
    yard.client.delete("hr:hints")
    leader.tick()
    assert yard.ledger.jobs() == []
    yard.now += LOOK_SECONDS
    yard.until(leader, lambda: yard.queued() == 1, "the job")


def test_a_cancelled_job_is_sealed_and_fed_no_more(yard: Yard) -> None:
    spec = yard.add_job(20)
    leader = yard.lead()
    yard.fill(leader)
    yard.jobs.cancel("job")
    yard.ledger.hint("job")
    yard.tick(leader, 3)
    assert yard.queued() == 0
    progress = yard.ledger.progress(spec.job_uid)
    assert progress is not None
    assert progress.cancelled
    yard.client.flushall()  # the new ledger knows it too
    yard.tick(leader, 3)
    progress = yard.ledger.progress(spec.job_uid)
    assert progress is not None
    assert progress.cancelled


def test_a_job_that_a_worker_stopped_is_sealed_and_fed_no_more(yard: Yard) -> None:
    spec = yard.add_job(20)
    leader = yard.lead()
    yard.fill(leader)
    yard.jobs.stop("job", spec.job_uid, JobStop(error="the class is broken"))
    yard.ledger.hint("job")
    yard.tick(leader, 3)
    assert yard.queued() == 0
    progress = yard.ledger.progress(spec.job_uid)
    assert progress is not None
    assert progress.cancelled


def test_a_job_that_fails_too_often_is_stopped(yard: Yard) -> None:
    spec = yard.add_job(20, max_errors=MaxErrors(images=4))
    other = yard.add_job(20, job_id="other")
    leader = yard.lead()
    failed = Counter[str]()

    def fail_a_chunk() -> bool:
        chunk = yard.claim()
        yard.finish(chunk, {"chunks": 1, "failed": len(chunk.items)})
        failed[chunk.job_id] += len(chunk.items)
        yard.pass_time(leader, 1)
        return yard.jobs.ends_early(spec)

    yard.fill(leader)
    yard.until(leader, fail_a_chunk, "the stop")
    assert failed["job"] in (5, 6), "the first beyond four, in chunks of two"
    stop = yard.jobs.stopped("job", spec.job_uid)
    assert stop is not None
    assert stop.reason == "too_many_errors"
    progress = yard.ledger.progress(spec.job_uid)
    assert progress is not None
    assert progress.cancelled
    assert not yard.jobs.ends_early(other), "it may fail as often as it will"
    sent = Counter(uid for uid, _, _ in yard.broker.sent)
    yard.pass_time(leader, 3)
    assert Counter(uid for uid, _, _ in yard.broker.sent)[spec.job_uid] == sent[spec.job_uid]


def test_a_stop_that_is_refused_is_said_once_and_holds_up_nothing(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    specs = [yard.add_job(6, job_id=name, max_errors=MaxErrors(images=0)) for name in ("a", "b")]
    stop, refused = yard.jobs.stop, list[str]()

    def refuse(job_id: str, uid: str, why: JobStop) -> bool:
        refused[:] = refused or [job_id]  # the first that fails
        if job_id in refused:
            raise AccessDenied("access_denied", "no")
        return stop(job_id, uid, why)

    monkeypatch.setattr(yard.jobs, "stop", refuse)
    leader = yard.lead()

    def fail_a_chunk() -> bool:
        chunk = yard.claim()
        yard.finish(chunk, {"chunks": 1, "failed": len(chunk.items)})
        yard.pass_time(leader, 1)
        return any(map(yard.jobs.ends_early, specs))

    yard.until(leader, lambda: yard.queued() == BOUND, "the queue at its bound")
    yard.until(leader, fail_a_chunk, "the stop of the other job")
    yard.pass_time(leader, 3)
    assert [spec.job_id for spec in specs if not yard.jobs.ends_early(spec)] == refused
    assert caplog.text.count(f"{refused[0]}: cannot be stopped: no") == 1


def test_a_job_that_the_ledger_lost_can_be_cancelled(yard: Yard) -> None:
    spec = yard.add_job(20)
    leader = yard.lead()
    yard.fill(leader)
    incarnation = yard.ledger.incarnation()
    assert incarnation is not None
    yard.ledger.close_job(incarnation, spec.job_uid)  # as in a broker's last second, that is lost
    yard.jobs.cancel("job")
    yard.ledger.hint("job")
    yard.pass_time(leader, 5)
    progress = yard.ledger.progress(spec.job_uid)
    assert progress is not None
    assert progress.cancelled


def test_a_job_cancelled_before_anybody_led_is_sealed_all_the_same(yard: Yard) -> None:
    yard.add_job(3)
    yard.jobs.cancel("job")
    leader = yard.lead()
    yard.until(leader, yard.sealed, "the seal")
    seal = ManifestReader(yard.store, "state", "job").seal()
    assert seal is not None
    assert yard.broker.sent == Counter()


def test_a_closed_job_is_forgotten_and_not_taken_up_again(yard: Yard) -> None:
    yard.add_job(3)
    leader = yard.lead()
    yard.until(leader, lambda: yard.queued() == 3, "all chunks")
    yard.jobs.create_closing("job", Closing(state="succeeded", accounting=Accounting()))
    yard.ledger.hint("job")
    leader.tick()
    assert yard.ledger.jobs() == []
    yard.now += LOOK_SECONDS
    yard.tick(leader, 3)
    assert yard.ledger.jobs() == []


def test_a_job_that_closes_while_it_is_taken_up_is_not_fed(yard: Yard) -> None:
    """Its chunk files go when it has closed: all of its chunks would look undone."""

    class Closes(MemoryStore):
        def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
            if prefix == chunks_prefix("job"):
                JobStore(self, "state").create_closing("job", ENDED)
                self.delete_many(bucket, [info.key for info in self.found(bucket, prefix)])
            return super().list(bucket, prefix)

    yard.add_job(3)
    leader = yard.lead()
    yard.until(leader, lambda: yard.queued() == 3, "all chunks")
    for _ in range(3):
        yard.finish(yard.claim())
    leader.end()
    closes = Closes()
    closes.buckets = yard.store.buckets
    yard.jobs = JobStore(closes, "state")
    yard.client.flushall()
    yard.broker.sent.clear()
    again = yard.lead()
    yard.now += LOOK_SECONDS
    yard.tick(again, 3)
    assert yard.broker.sent == Counter()
    assert yard.ledger.jobs() == []


def test_a_job_that_only_the_ledger_knows_is_forgotten(yard: Yard) -> None:
    leader = yard.lead()
    leader.tick()
    incarnation = str(yard.ledger.incarnation())
    yard.ledger.open_job(incarnation, "f" * 16, "gone")
    yard.ledger.feed(incarnation, "f" * 16, 0, 3, bound=9)
    yard.pass_time(leader, RESCUE_SECONDS)
    assert yard.ledger.jobs() == []
    assert yard.queued() == 0


@pytest.mark.parametrize("hinted", [True, False])
def test_a_removed_job_makes_room_for_another_of_its_name(yard: Yard, hinted: bool) -> None:
    yard.add_job(3)
    leader = yard.lead()
    yard.until(leader, lambda: yard.queued() == 3, "all chunks")
    yard.jobs.create_closing("job", Closing(state="succeeded", accounting=Accounting()))
    yard.ledger.hint("job")
    leader.tick()
    for key in (closed_key("job"), spec_key("job"), *(segment_key("job", n) for n in range(4))):
        yard.store.delete("state", key)
    if not hinted:
        yard.now += LOOK_SECONDS
        leader.tick()
    again = yard.add_job(3)
    if not hinted:
        yard.client.delete("hr:hints")
        yard.now += LOOK_SECONDS
    yard.until(leader, lambda: yard.ledger.jobs() == [again.job_uid], "the new job")
    yard.until(leader, lambda: yard.queued() == 3, "its chunks")


@pytest.mark.parametrize("led_before", [True, False])
def test_a_bucket_that_is_not_there_ends_the_job(yard: Yard, led_before: bool) -> None:
    leader = yard.lead()
    if led_before:
        leader.tick()
    spec = yard.add_job(0, bucket="nowhere")

    def closing() -> Closing | None:
        yard.now += 0.1
        return yard.jobs.closing("job")

    yard.until(leader, closing, "the job's end")
    ended = yard.jobs.closing("job")
    assert ended is not None
    assert (ended.state, ended.reason, ended.accounting) == ("failed", "not_closed", Accounting())
    assert "nowhere" in str(ended.error)
    assert spec.job_uid not in yard.ledger.jobs()


def test_a_manifest_that_has_lost_a_segment_ends_the_job(yard: Yard) -> None:
    yard.add_job(20)
    leader = yard.lead()
    yard.fill(leader)
    yard.store.delete("state", segment_key("job", 3))
    for _ in range(11 - BOUND):  # the chunks before the gap
        yard.claim()
        yard.tick(leader)
    yard.claim()
    yard.until(leader, lambda: yard.jobs.closing("job"), "the job's end")
    ended = yard.jobs.closing("job")
    assert ended is not None
    assert ended.state == "failed"
    assert ended.error == "The manifest of the job 'job' has no chunk 11."


def test_a_spec_that_cannot_be_read_harms_nobody_else(yard: Yard) -> None:
    yard.store.put("state", spec_key("bad"), b"{}")
    yard.store.put("state", spec_key("ended-oddly"), b"{}")
    yard.store.put("state", closed_key("ended-oddly"), b"{}")
    yard.store.put("state", cancel_key("half-removed"), b"{}")
    yard.add_job(1)
    leader = yard.lead()
    yard.until(leader, lambda: yard.queued() == 1, "the good job")
    ended = yard.jobs.closing("bad")
    assert ended is not None
    assert ended.state == "failed"


def test_a_job_of_another_version_ends_as_failed_and_says_what_to_do(yard: Yard) -> None:
    spec = yard.add_job(3)
    old = {**spec.model_dump(mode="json"), "version": 1, "headrace_version": "0.0.9"}
    del old["pipeline_given"]
    yard.store.put("state", spec_key("job"), json.dumps(old).encode())
    leader = yard.lead()
    leader.tick()
    ended = yard.jobs.closing("job")
    assert ended is not None
    assert (ended.state, ended.accounting) == ("failed", Accounting())
    assert "Headrace 0.0.9, whose specs have version 1" in str(ended.error)
    assert "Enqueue it again" in str(ended.error)
    yard.pass_time(leader, LOOK_SECONDS + 1)
    assert yard.ledger.jobs() == []
    assert yard.jobs.closing("job") == ended


def test_an_outage_of_the_store_leaves_no_job_behind(yard: Yard) -> None:
    class Flaky(MemoryStore):
        down = True

        def get(self, bucket: str, key: str) -> bytes:
            if self.down:
                raise TransientError("store_unavailable", "The store does not answer.")
            return super().get(bucket, key)

    flaky = Flaky()
    flaky.buckets = yard.store.buckets
    yard.jobs = JobStore(flaky, "state")
    yard.add_job(1, job_id="one")
    yard.add_job(1, job_id="two")
    leader = yard.lead()
    for _ in range(3):
        with pytest.raises(TransientError):
            leader.tick()
    flaky.down = False
    yard.until(leader, lambda: yard.queued() == 2, "both jobs")
