"""``manifest.json`` names the retries of its job, through deaths and races of collectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from producer.jobs import remove
from shared import keys
from shared.errors import PermanentError
from shared.job import Closing, JobStop
from shared.job_store import JobStore
from shared.retries import MAX_MANIFEST_BYTES
from shared.storage import AccessDenied, StoreUnavailable
from tests.support.fake_connections import fake_connections
from tests.support.job_in_memory import Died, MemoryJob, SteppingStore
from tests.support.samples import JOB_UID


def parent() -> MemoryJob:
    job = MemoryJob(4)
    job.seal()
    job.finish_all()
    job.collector().once()
    return job


def retry_of(job: MemoryJob, job_id: str, *, cancelled: bool = False) -> MemoryJob:
    """One that is ready to be closed."""
    uid = f"{len(job.store.buckets['state']):016x}"
    retry = MemoryJob(
        job.chunks[:1], store=job.store, job_id=job_id, job_uid=uid, retry_of=job.spec.job_id
    )
    job.jobs.add_retry(job.spec.job_id, job_id)
    retry.seal(cancelled=cancelled)
    if not cancelled:
        retry.finish_all()
    return retry


def document(job: MemoryJob) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(job.output()["manifest.json"])
    return found


def named(job: MemoryJob) -> list[str]:
    return [entry["job_id"] for entry in document(job)["retries"]]


def test_a_job_begins_without_and_its_retries_follow_oldest_first() -> None:
    job = parent()
    before = document(job)
    assert (before["version"], before["retries"]) == (2, [])
    first = retry_of(job, "z-first")
    first.collector().once()
    second = retry_of(first, "a-second", cancelled=True)
    second.collector().once()
    assert document(job)["retries"] == [
        {"job_id": "z-first", "state": "succeeded", "rows": "s3://results/z-first/rows/"},
        {"job_id": "a-second", "state": "cancelled", "rows": None},
    ]
    assert named(first) == ["a-second"]
    assert {**document(job), "retries": []} == before, "and nothing else changes"


def test_a_retry_that_has_not_ended_is_not_named() -> None:
    job = parent()
    open_one, ended = retry_of(job, "open"), retry_of(job, "ended")
    ended.collector().once()
    assert named(job) == ["ended"]
    assert open_one.jobs.closing("open") is None


def test_it_is_named_before_it_ends() -> None:
    job = parent()
    retry = retry_of(job, "retry")
    seen: list[list[str]] = []
    create = job.store.create

    def noting(bucket: str, key: str, data: bytes) -> bool:
        if key == keys.closed_key("retry"):
            seen.append(named(job))
        return create(bucket, key, data)

    job.store.create = noting  # type: ignore[method-assign]
    retry.collector().once()
    assert seen == [["retry"]]


def test_one_that_failed_is_named_too() -> None:
    job = parent()
    retry = retry_of(job, "retry")
    job.jobs.stop("retry", retry.spec.job_uid, JobStop(error="no"))
    job.store.put("results", keys.output_manifest_key(retry.spec), b"not ours")
    retry.collector().once()
    assert document(job)["retries"][0]["state"] == "failed"


def dies_at(store: SteppingStore, retry: MemoryJob, step: int) -> bool:
    def die(at: int) -> None:
        if at == step:
            raise Died

    store.begin()
    store.at_step = die
    try:
        retry.collector().once()
    except Died:
        return True
    finally:
        store.at_step = lambda _step: None
    return False


def test_a_collector_may_die_at_any_step() -> None:
    step, is_further = 0, True
    while is_further:
        job = parent()
        retry = retry_of(job, "retry")
        is_further = dies_at(job.store, retry, step)
        if job.jobs.is_closed("retry"):
            assert named(job) == ["retry"], "it has ended and is not named"
        retry.collector().once()
        assert named(job) == ["retry"]
        step += 1


def test_two_retries_may_end_at_once() -> None:
    """At each step of the one's collector, the other's does all that it has to."""
    step, is_over = 0, False
    while not is_over:
        job = parent()
        first, second = retry_of(job, "first"), retry_of(job, "second")
        pending = [step]

        def other(at: int, job: MemoryJob = job, second: MemoryJob = second) -> None:
            if at in pending:  # noqa: B023
                pending.clear()  # noqa: B023
                hook, job.store.at_step = job.store.at_step, lambda _step: None
                second.collector().once()
                job.store.at_step = hook

        job.store.begin()
        job.store.at_step = other
        first.collector().once()
        job.store.at_step = lambda _step: None
        is_over = bool(pending)
        second.collector().once()
        assert named(job) == ["first", "second"]
        step += 1


HOSTILE = {
    "none": None,
    "no json": b"no json",
    "a list": b"[]",
    "of another": b'{"job_uid": "another"}',
    "not UTF-8": b"\xff",
    "deep": b"[" * 10**6,
    "deep inside": b'{"a":' * 10**5,
    "a long number": b'{"job_uid": ' + b"9" * 10_000 + b"}",
    "no number": b'{"job_uid": "%s", "seconds": NaN}' % JOB_UID.encode(),
    "large": b'{"job_uid": "%s", "a": "' % JOB_UID.encode() + b"a" * MAX_MANIFEST_BYTES + b'"}',
}


@pytest.mark.parametrize("existing", HOSTILE.values(), ids=HOSTILE)
def test_a_job_without_a_manifest_of_its_own_is_left_alone(
    existing: bytes | None, tmp_path: Path
) -> None:
    job = parent()
    key = keys.output_manifest_key(job.spec)
    job.store.delete("results", key)
    if existing is not None:
        job.store.put("results", key, existing)
    retry = retry_of(job, "retry")
    retry.collector().once()
    assert job.jobs.is_closed("retry")
    assert job.store.buckets["results"].get(key) == existing
    removed(tmp_path, job, "retry")
    assert job.store.buckets["results"].get(key) == existing


def test_a_manifest_that_may_not_be_read_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = parent()
    key, get_object = keys.output_manifest_key(job.spec), job.store.get_object

    def refuse(bucket: str, name: str, **options: Any) -> object:
        if name == key:
            raise AccessDenied("access_denied", "no")
        return get_object(bucket, name, **options)

    retry = retry_of(job, "retry")
    monkeypatch.setattr(job.store, "get_object", refuse)
    retry.collector().once()
    assert job.jobs.is_closed("retry")
    removed(tmp_path, job, "retry")
    assert not job.jobs.has_spec("retry")


def test_a_manifest_of_the_version_before_gets_the_list() -> None:
    job = parent()
    old = {name: value for name, value in document(job).items() if name != "retries"}
    data = json.dumps({**old, "version": 1}).encode()
    job.store.put("results", keys.output_manifest_key(job.spec), data)
    retry_of(job, "retry").collector().once()
    assert named(job) == ["retry"]
    assert document(job)["version"] == 2


def test_a_store_that_refuses_it_keeps_no_retry_open(monkeypatch: pytest.MonkeyPatch) -> None:
    job = parent()

    def refuse(bucket: str, key: str, data: bytes) -> None:
        raise AccessDenied("access_denied", "no")

    retry = retry_of(job, "retry")
    monkeypatch.setattr(job.store, "put", refuse)
    retry.collector().once()
    assert job.jobs.is_closed("retry")


def test_an_outage_only_delays_it() -> None:
    job = parent()
    retry = retry_of(job, "retry")
    put = job.store.put

    def away(bucket: str, key: str, data: bytes) -> None:
        raise StoreUnavailable("store_unavailable", "away")

    job.store.put = away  # type: ignore[method-assign]
    retry.collector().once()
    assert not job.jobs.is_closed("retry")
    job.store.put = put  # type: ignore[method-assign]
    retry.collector().once()
    assert named(job) == ["retry"]


def removed(tmp_path: Path, job: MemoryJob, job_id: str) -> None:
    connections = fake_connections(tmp_path).connections
    state = JobStore(job.store, "state")
    for name, value in (("jobs", state), ("store_of", lambda _bucket: job.store)):
        object.__setattr__(connections, name, value)
    remove(connections, job_id)


def test_a_retry_that_is_removed_is_named_no_more(tmp_path: Path) -> None:
    job = parent()
    first = retry_of(job, "first")
    first.collector().once()
    retry_of(first, "of-first").collector().once()
    retry_of(job, "second").collector().once()
    names = ["first", "of-first", "second"]
    assert named(job) == names
    with pytest.raises(PermanentError, match=r"'of-first' retries .* Run 'headrace rm of-first'"):
        removed(tmp_path, job, "first")
    for name in ("of-first", "first", "second"):
        assert named(job) == names
        removed(tmp_path, job, name)
        names.remove(name)
    assert named(job) == []


def test_of_a_chain_the_last_is_removed_first(tmp_path: Path) -> None:
    job = last = parent()
    for name in ("a", "b", "c"):
        last = retry_of(last, name)
        last.collector().once()
    for name in ("a", "b"):
        with pytest.raises(PermanentError, match="Run 'headrace rm c' first") as caught:
            removed(tmp_path, job, name)
        assert caught.value.code == "job_needed"
    removed(tmp_path, job, "job")
    removed(tmp_path, job, "a")  # which is the first now
    for name in ("c", "b"):
        removed(tmp_path, job, name)
    assert job.store.buckets["results"] == {}


def test_no_job_is_removed_while_a_retry_of_its_retries_runs(tmp_path: Path) -> None:
    job = parent()
    first = retry_of(job, "first")
    first.collector().once()
    retry_of(first, "second")
    for name in ("job", "first"):
        with pytest.raises(PermanentError, match="Run 'headrace wait second' first"):
            removed(tmp_path, job, name)


def test_a_job_that_is_removed_leaves_its_retries(tmp_path: Path) -> None:
    job = parent()
    first = retry_of(job, "first")
    first.collector().once()
    removed(tmp_path, job, "job")
    retry_of(first, "second").collector().once()
    assert named(first) == ["second"]
    assert "manifest.json" not in job.output()
    assert isinstance(job.jobs.closing("second"), Closing)
