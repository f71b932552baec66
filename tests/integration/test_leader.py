"""How the producer that leads comes to its jobs and parts from them, on a real ledger."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from producer.lead.leader import REFRESH_SECONDS, RESCUE_SECONDS
from shared.errors import TransientError
from shared.job import Accounting, Closing, JobStop, MaxErrors
from shared.job_store import JobStore
from shared.keys import cancel_key, chunks_prefix, closed_key, segment_key, spec_key
from shared.manifest import ManifestReader
from shared.storage import AccessDenied, ObjectInfo
from tests.support import samples
from tests.support.memory_store import MemoryStore
from tests.support.producer_harness import BOUND, ProducerHarness

ENDED = Closing(state="succeeded", accounting=Accounting())


def test_a_job_without_a_hint_is_found_by_looking(harness: ProducerHarness) -> None:
    leader = harness.lead()
    leader.tick()
    harness.add_job(1)
    harness.client.delete("hr:hints")
    leader.tick()
    assert harness.ledger.jobs() == []
    harness.now += REFRESH_SECONDS
    harness.until(leader, lambda: harness.queued() == 1, "the job")


def test_a_cancelled_job_is_sealed_and_fed_no_more(harness: ProducerHarness) -> None:
    spec = harness.add_job(20)
    leader = harness.lead()
    harness.fill(leader)
    harness.jobs.cancel("job")
    harness.ledger.hint("job")
    harness.tick(leader, 3)
    assert harness.queued() == 0
    progress = harness.ledger.progress(spec.job_uid)
    assert progress is not None
    assert progress.cancelled
    harness.client.flushall()  # the new ledger knows it too
    harness.tick(leader, 3)
    progress = harness.ledger.progress(spec.job_uid)
    assert progress is not None
    assert progress.cancelled


def test_a_job_that_a_worker_stopped_is_sealed_and_fed_no_more(harness: ProducerHarness) -> None:
    spec = harness.add_job(20)
    leader = harness.lead()
    harness.fill(leader)
    harness.jobs.stop("job", spec.job_uid, JobStop(error="the class is broken"))
    harness.ledger.hint("job")
    harness.tick(leader, 3)
    assert harness.queued() == 0
    progress = harness.ledger.progress(spec.job_uid)
    assert progress is not None
    assert progress.cancelled


def test_a_job_that_fails_too_often_is_stopped(harness: ProducerHarness) -> None:
    spec = harness.add_job(20, max_errors=MaxErrors(images=4))
    other = harness.add_job(20, job_id="other")
    leader = harness.lead()
    failed = Counter[str]()

    def fail_a_chunk() -> bool:
        chunk = harness.claim()
        harness.finish(chunk, {"chunks": 1, "failed": len(chunk.items)})
        failed[chunk.job_id] += len(chunk.items)
        harness.pass_time(leader, 1)
        return harness.jobs.ends_early(spec)

    harness.fill(leader)
    harness.until(leader, fail_a_chunk, "the stop")
    assert failed["job"] in (5, 6), "the first beyond four, in chunks of two"
    stop = harness.jobs.stopped("job", spec.job_uid)
    assert stop is not None
    assert stop.reason == "too_many_errors"
    progress = harness.ledger.progress(spec.job_uid)
    assert progress is not None
    assert progress.cancelled
    assert not harness.jobs.ends_early(other), "it may fail as often as it will"
    sent = Counter(uid for uid, _, _ in harness.broker.sent)
    harness.pass_time(leader, 3)
    assert Counter(uid for uid, _, _ in harness.broker.sent)[spec.job_uid] == sent[spec.job_uid]


def test_a_stop_that_is_refused_is_said_once_and_holds_up_nothing(
    harness: ProducerHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    specs = [harness.add_job(6, job_id=name, max_errors=MaxErrors(images=0)) for name in ("a", "b")]
    stop, refused = harness.jobs.stop, list[str]()

    def refuse(job_id: str, uid: str, why: JobStop) -> bool:
        refused[:] = refused or [job_id]  # the first that fails
        if job_id in refused:
            raise AccessDenied("access_denied", "no")
        return stop(job_id, uid, why)

    monkeypatch.setattr(harness.jobs, "stop", refuse)
    leader = harness.lead()

    def fail_a_chunk() -> bool:
        chunk = harness.claim()
        harness.finish(chunk, {"chunks": 1, "failed": len(chunk.items)})
        harness.pass_time(leader, 1)
        return any(map(harness.jobs.ends_early, specs))

    harness.until(leader, lambda: harness.queued() == BOUND, "the queue at its bound")
    harness.until(leader, fail_a_chunk, "the stop of the other job")
    harness.pass_time(leader, 3)
    assert [spec.job_id for spec in specs if not harness.jobs.ends_early(spec)] == refused
    assert caplog.text.count(f"{refused[0]}: cannot be stopped: no") == 1


def test_a_job_that_the_ledger_lost_can_be_cancelled(harness: ProducerHarness) -> None:
    spec = harness.add_job(20)
    leader = harness.lead()
    harness.fill(leader)
    incarnation = harness.ledger.incarnation()
    assert incarnation is not None
    harness.ledger.close_job(
        incarnation, spec.job_uid
    )  # as in a broker's last second, that is lost
    harness.jobs.cancel("job")
    harness.ledger.hint("job")
    harness.pass_time(leader, 5)
    progress = harness.ledger.progress(spec.job_uid)
    assert progress is not None
    assert progress.cancelled


def test_a_job_cancelled_before_anybody_led_is_sealed_all_the_same(
    harness: ProducerHarness,
) -> None:
    harness.add_job(3)
    harness.jobs.cancel("job")
    leader = harness.lead()
    harness.until(leader, harness.sealed, "the seal")
    seal = ManifestReader(harness.store, "state", "job").seal()
    assert seal is not None
    assert harness.broker.sent == Counter()


def test_a_closed_job_is_forgotten_and_not_taken_up_again(harness: ProducerHarness) -> None:
    harness.add_job(3)
    leader = harness.lead()
    harness.until(leader, lambda: harness.queued() == 3, "all chunks")
    harness.jobs.create_closing("job", Closing(state="succeeded", accounting=Accounting()))
    harness.ledger.hint("job")
    leader.tick()
    assert harness.ledger.jobs() == []
    harness.now += REFRESH_SECONDS
    harness.tick(leader, 3)
    assert harness.ledger.jobs() == []


def test_a_job_that_closes_while_it_is_taken_up_is_not_fed(harness: ProducerHarness) -> None:
    """Its chunk files go when it has closed: all of its chunks would look undone."""

    class Closes(MemoryStore):
        def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
            if prefix == chunks_prefix("job"):
                JobStore(self, "state").create_closing("job", ENDED)
                self.delete_many(bucket, [info.key for info in self.found(bucket, prefix)])
            return super().list(bucket, prefix)

    harness.add_job(3)
    leader = harness.lead()
    harness.until(leader, lambda: harness.queued() == 3, "all chunks")
    for _ in range(3):
        harness.finish(harness.claim())
    leader.end()
    closes = Closes()
    closes.buckets = harness.store.buckets
    harness.jobs = JobStore(closes, "state")
    harness.client.flushall()
    harness.broker.sent.clear()
    again = harness.lead()
    harness.now += REFRESH_SECONDS
    harness.tick(again, 3)
    assert harness.broker.sent == Counter()
    assert harness.ledger.jobs() == []


def test_a_job_that_only_the_ledger_knows_is_forgotten(harness: ProducerHarness) -> None:
    leader = harness.lead()
    leader.tick()
    incarnation = str(harness.ledger.incarnation())
    harness.ledger.register_job(incarnation, "f" * 16, "gone", samples.FIRST_QUEUE)
    harness.ledger.feed(incarnation, "f" * 16, 0, 3, bound=9)
    harness.pass_time(leader, RESCUE_SECONDS)
    assert harness.ledger.jobs() == []
    assert harness.queued() == 0


@pytest.mark.parametrize("hinted", [True, False])
def test_a_removed_job_makes_room_for_another_of_its_name(
    harness: ProducerHarness, hinted: bool
) -> None:
    harness.add_job(3)
    leader = harness.lead()
    harness.until(leader, lambda: harness.queued() == 3, "all chunks")
    harness.jobs.create_closing("job", Closing(state="succeeded", accounting=Accounting()))
    harness.ledger.hint("job")
    leader.tick()
    for key in (closed_key("job"), spec_key("job"), *(segment_key("job", n) for n in range(4))):
        harness.store.delete("state", key)
    if not hinted:
        harness.now += REFRESH_SECONDS
        leader.tick()
    again = harness.add_job(3)
    if not hinted:
        harness.client.delete("hr:hints")
        harness.now += REFRESH_SECONDS
    harness.until(leader, lambda: harness.ledger.jobs() == [again.job_uid], "the new job")
    harness.until(leader, lambda: harness.queued() == 3, "its chunks")


@pytest.mark.parametrize("led_before", [True, False])
def test_a_bucket_that_is_not_there_ends_the_job(
    harness: ProducerHarness, led_before: bool
) -> None:
    leader = harness.lead()
    if led_before:
        leader.tick()
    spec = harness.add_job(0, bucket="nowhere")

    def closing() -> Closing | None:
        harness.now += 0.1
        return harness.jobs.closing("job")

    harness.until(leader, closing, "the job's end")
    ended = harness.jobs.closing("job")
    assert ended is not None
    assert (ended.state, ended.reason, ended.accounting) == ("failed", "not_closed", Accounting())
    assert "nowhere" in str(ended.error)
    assert spec.job_uid not in harness.ledger.jobs()


def test_a_manifest_that_has_lost_a_segment_ends_the_job(harness: ProducerHarness) -> None:
    harness.add_job(20)
    leader = harness.lead()
    harness.fill(leader)
    harness.store.delete("state", segment_key("job", 3))
    for _ in range(11 - BOUND):  # the chunks before the gap
        harness.claim()
        harness.tick(leader)
    harness.claim()
    harness.until(leader, lambda: harness.jobs.closing("job"), "the job's end")
    ended = harness.jobs.closing("job")
    assert ended is not None
    assert ended.state == "failed"
    assert ended.error == "The manifest of the job 'job' has no chunk 11."


def test_a_spec_that_cannot_be_read_harms_nobody_else(harness: ProducerHarness) -> None:
    harness.store.put("state", spec_key("bad"), b"{}")
    harness.store.put("state", spec_key("ended-oddly"), b"{}")
    harness.store.put("state", closed_key("ended-oddly"), b"{}")
    harness.store.put("state", cancel_key("half-removed"), b"{}")
    harness.add_job(1)
    leader = harness.lead()
    harness.until(leader, lambda: harness.queued() == 1, "the good job")
    ended = harness.jobs.closing("bad")
    assert ended is not None
    assert ended.state == "failed"


def test_a_job_of_another_version_ends_as_failed_and_says_what_to_do(
    harness: ProducerHarness,
) -> None:
    spec = harness.add_job(3)
    old = {**spec.model_dump(mode="json"), "version": 1, "headrace_version": "0.0.9"}
    del old["pipeline_given"]
    harness.store.put("state", spec_key("job"), json.dumps(old).encode())
    leader = harness.lead()
    leader.tick()
    ended = harness.jobs.closing("job")
    assert ended is not None
    assert (ended.state, ended.accounting) == ("failed", Accounting())
    assert "Headrace 0.0.9, whose specs have version 1" in str(ended.error)
    assert "Enqueue it again" in str(ended.error)
    harness.pass_time(leader, REFRESH_SECONDS + 1)
    assert harness.ledger.jobs() == []
    assert harness.jobs.closing("job") == ended


def test_an_outage_of_the_store_leaves_no_job_behind(harness: ProducerHarness) -> None:
    class Flaky(MemoryStore):
        down = True

        def get(self, bucket: str, key: str) -> bytes:
            if self.down:
                raise TransientError("store_unavailable", "The store does not answer.")
            return super().get(bucket, key)

    flaky = Flaky()
    flaky.buckets = harness.store.buckets
    harness.jobs = JobStore(flaky, "state")
    harness.add_job(1, job_id="one")
    harness.add_job(1, job_id="two")
    leader = harness.lead()
    for _ in range(3):
        with pytest.raises(TransientError):
            leader.tick()
    flaky.down = False
    harness.until(leader, lambda: harness.queued() == 2, "both jobs")
