"""What is said of a job comes from its closing, else from its manifest and the ledger's hints."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Literal

import pytest

from producer.jobs import (
    PROBE_PIPELINE,
    JobRequest,
    JobStatus,
    all_statuses,
    cancel,
    follow,
    job_status,
    latest_job_id,
    remove,
    require_removable,
    resume,
    retry,
    submit,
)
from shared.errors import HeadraceError
from shared.item import Item
from shared.job import (
    Accounting,
    Closing,
    EngineChoice,
    FailureReason,
    MaxErrors,
)
from shared.keys import closed_key, output_root, segment_key, spec_key, success_key
from shared.ledger import JobProgress
from shared.manifest import Seal, Segment, encode_seal, encode_segment
from tests.support.fake_connections import Fake


def look(fake: Fake, job: str = "job") -> JobStatus:
    return job_status(fake.connections, job, fake.warnings.append)


def put_segment(fake: Fake, number: int, first_chunk: int, *sizes: int) -> None:
    chunks = tuple(
        tuple(Item(key=f"{number}-{chunk}-{i}", etag="e", size=1) for i in range(size))
        for chunk, size in enumerate(sizes)
    )
    data = encode_segment(Segment(first_chunk, chunks))
    fake.store.put("state", segment_key("job", number), data)


def put_progress(fake: Fake, **counters: float) -> None:
    uid = fake.connections.jobs.spec("job").job_uid
    fake.ledger.open_jobs[uid] = JobProgress(uid, "job", 1, 1, False, counters)


def close(
    fake: Fake,
    job: str = "job",
    *,
    reason: FailureReason | None = None,
    state: Literal["succeeded", "failed", "cancelled"] | None = None,
    **counts: int,
) -> None:
    closing = Closing(
        state=state or ("failed" if reason else "succeeded"),
        reason=reason,
        error=reason and f"{job} says so.",
        accounting=Accounting(**counts),
        engine="python",
        device="cpu",
        seconds=2.0,
        device_busy=0.5,
    )
    assert fake.connections.jobs.create_closing(job, closing)


def test_before_anything_is_listed(fake: Fake, job: str) -> None:
    status = look(fake, job)
    assert status.state == "listing"
    assert set(status.images.model_dump().values()) == {0}


def test_listing_then_running(fake: Fake, job: str) -> None:
    put_segment(fake, 0, 0, 1)
    put_segment(fake, 1, 1, 2, 2, 2)
    assert (look(fake).state, look(fake).images.listed) == ("listing", 7)
    fake.store.put("state", segment_key("job", 2), encode_seal(Seal(4, 7, 7, skipped=3)))
    put_progress(fake, succeeded=3, failed=1, opened_at_ms=1000, last_done_at_ms=3000)
    status = look(fake)
    assert status.state == "running"
    assert status.images.model_dump() == {
        "listed": 7,
        "succeeded": 3,
        "failed": 1,
        "pending": 3,
        "cancelled": 0,
    }
    assert (status.seconds, status.images_per_second, status.skipped) == (2.0, 2.0, 3)


def test_hints_never_exceed_what_is_listed(fake: Fake, job: str) -> None:
    put_segment(fake, 0, 0, 2)
    put_progress(fake, succeeded=9, failed=1)
    images = look(fake).images
    assert (images.listed, images.succeeded, images.failed, images.pending) == (2, 1, 1, 0)


def test_without_a_ledger_the_bucket_still_answers(fake: Fake, job: str) -> None:
    put_segment(fake, 0, 0, 2)
    fake.ledger.down = True
    status = look(fake)
    assert (status.images.listed, status.images.succeeded, status.images.pending) == (2, None, None)
    assert fake.warnings == ["The ledger does not answer."]


def test_closed(fake: Fake, job: str) -> None:
    close(fake, listed=7, succeeded=5, failed=2, skipped=1)
    fake.ledger.down = True  # is not asked
    status = look(fake)
    assert (status.state, status.engine, status.device) == ("succeeded", "python", "cpu")
    assert (status.images_per_second, status.device_busy, status.images.pending) == (3.5, 0.5, 0)
    assert fake.warnings == []


def test_why_which_engine_is_known_from_the_first_result_on(fake: Fake, job: str) -> None:
    choice = EngineChoice(engine="openvino", precision="float32", device="cpu", reason="fastest")
    assert look(fake).engine_reason is None
    uid = fake.connections.jobs.spec(job).job_uid
    fake.connections.jobs.settle_engine(job, uid, only_analysis(fake), choice)
    status = look(fake)
    assert (status.engine, status.precision) == ("openvino", "float32")
    assert (status.engine_reason, status.reason) == ("fastest", None)
    close(fake)
    assert (look(fake).engine, look(fake).engine_reason) == ("python", "fastest")


def only_analysis(fake: Fake) -> str:
    (name,) = fake.connections.jobs.spec("job").pipeline.analyses
    return name


def test_the_json_is_the_contract(fake: Fake, job: str) -> None:
    fields = json.loads(look(fake).model_dump_json())
    assert list(fields) == [
        *("job_id", "pipeline", "model", "model_version", "engine", "precision", "device"),
        *("state", "images", "images_per_second", "device_busy", "seconds", "created_at"),
        *("output", "error", "skipped", "reason", "engine_reason", "code_sha256", "warnings"),
        "models",
    ]
    assert list(fields["images"]) == ["listed", "succeeded", "failed", "pending", "cancelled"]
    assert fields["output"] == "s3://results/job/"


def test_follow_ends_with_the_job(fake: Fake, job: str) -> None:
    looks = follow(fake.connections, job, fake.warnings.append)
    assert next(looks).state == "listing"
    close(fake, listed=1, succeeded=1)
    assert [status.state for status in looks][-1] == "succeeded"


def test_follow_gives_up_in_time_and_warns_once(fake: Fake, job: str) -> None:
    fake.ledger.down = True
    looks = follow(fake.connections, job, fake.warnings.append, timeout_seconds=0.5)
    with pytest.raises(HeadraceError, match=r"still listing after 0.5 seconds"):
        list(looks)
    assert len(fake.warnings) == 1


def test_cancel_and_resume(fake: Fake, job: str) -> None:
    resume(fake.connections, job, fake.warnings.append)
    cancel(fake.connections, job, fake.warnings.append)
    cancel(fake.connections, job, fake.warnings.append)
    assert fake.connections.jobs.is_cancelled(job)
    assert fake.ledger.hints == [job] * 4
    with pytest.raises(HeadraceError, match="is cancelled"):
        resume(fake.connections, job, fake.warnings.append)
    close(fake)
    with pytest.raises(HeadraceError, match="has ended already: succeeded"):
        cancel(fake.connections, job, fake.warnings.append)


def test_retry_links_a_new_job_and_the_parent_counts_what_it_mends(fake: Fake, job: str) -> None:
    with pytest.raises(HeadraceError, match="has not ended yet"):
        retry(fake.connections, job, fake.warnings.append)
    close(fake, listed=10, succeeded=6, failed=4)
    first = retry(fake.connections, job, fake.warnings.append)
    parent = fake.connections.jobs.spec(job)
    assert (first.retry_of, first.pipeline, first.chunk_items) == (job, parent.pipeline, 2)
    assert first.job_uid != parent.job_uid
    with pytest.raises(HeadraceError, match="has not ended yet"):
        retry(fake.connections, job, fake.warnings.append)
    close(fake, first.job_id, listed=4, succeeded=3, failed=1)
    second = retry(fake.connections, job, fake.warnings.append)
    assert second.retry_of == first.job_id
    close(fake, second.job_id, listed=1, succeeded=1)
    images = look(fake, job).images
    assert (images.listed, images.succeeded, images.failed) == (10, 10, 0)
    with pytest.raises(HeadraceError, match="Nothing in the job"):
        retry(fake.connections, job, fake.warnings.append)


def test_what_a_cancelled_retry_did_not_reach_can_be_retried(fake: Fake, job: str) -> None:
    close(fake, listed=10, succeeded=6, failed=4)
    first = retry(fake.connections, job, fake.warnings.append)
    close(fake, first.job_id, listed=4, succeeded=1, cancelled=3)
    second = retry(fake.connections, job, fake.warnings.append)
    assert second.retry_of == first.job_id
    close(fake, second.job_id, listed=3, succeeded=3)
    with pytest.raises(HeadraceError, match="Nothing in the job"):
        retry(fake.connections, first.job_id, fake.warnings.append)


def retried(fake: Fake, **limit: int) -> str:
    """Begin a job that may fail so often; returns its id."""
    allowed = MaxErrors.model_validate(limit) if limit else None
    source = "s3://photos"
    request = JobRequest(source, str(fake.pipeline), job_id="limited", max_errors=allowed)
    return submit(fake.connections, request, fake.warnings.append).job_id


def ends(fake: Fake, job: str) -> tuple[str, str | None, str | None]:
    status = look(fake, job)
    return status.state, status.reason, status.error


def test_a_retry_that_succeeds_turns_the_state_of_its_job(fake: Fake) -> None:
    job = retried(fake, images=2)
    close(fake, job, reason="no_success", listed=9, failed=9)
    assert ends(fake, job) == ("failed", "no_success", "limited says so.")
    first = retry(fake.connections, job, fake.warnings.append)
    assert first.max_errors == MaxErrors(images=2)
    assert ends(fake, job) == ("failed", "no_success", "limited says so."), "it still runs"
    close(fake, first.job_id, reason="too_many_errors", listed=9, succeeded=5, failed=4)
    assert ends(fake, job) == ("failed", "too_many_errors", f"{first.job_id} says so.")
    second = retry(fake.connections, job, fake.warnings.append)
    close(fake, second.job_id, listed=4, succeeded=2, failed=2)
    for retried_job in (job, first.job_id):
        assert ends(fake, retried_job) == ("succeeded", None, None)
    assert look(fake, job).images.failed == 2


def test_a_retry_that_its_user_cancelled_counts_what_it_has_fixed(fake: Fake) -> None:
    job = retried(fake, images=2)
    close(fake, job, reason="no_success", listed=9, failed=9)
    first = retry(fake.connections, job, fake.warnings.append)
    close(fake, first.job_id, state="cancelled", listed=9, succeeded=6, cancelled=3)
    assert ends(fake, first.job_id)[0] == "cancelled"
    said = "3 images still fail, and --max-errors allows 2."
    assert ends(fake, job) == ("failed", "too_many_errors", said)


@pytest.mark.parametrize(
    ("reason", "state", "counts"),
    [
        ("too_many_errors", "failed", {"failed": 3, "cancelled": 6}),
        ("not_closed", "failed", {"failed": 3}),
        (None, "cancelled", {"failed": 3, "cancelled": 6}),
    ],
)
def test_a_job_that_lacks_rows_stays_as_it_ended(
    fake: Fake,
    reason: FailureReason | None,
    state: Literal["failed", "cancelled"],
    counts: dict[str, int],
) -> None:
    job = retried(fake, images=2)
    close(fake, job, reason=reason, state=state, listed=9, **counts)
    first = retry(fake.connections, job, fake.warnings.append)
    close(fake, first.job_id, listed=3, succeeded=3)
    assert (look(fake, job).state, look(fake, job).reason) == (state, reason)
    assert look(fake, job).images.succeeded == 3
    expected = "that were cancelled, enqueue again" if "cancelled" in counts else "is failed"
    with pytest.raises(HeadraceError, match=expected):
        retry(fake.connections, job, fake.warnings.append)


def test_jobs_newest_first(fake: Fake, job: str) -> None:
    request = JobRequest("s3://photos", str(fake.pipeline), job_id="a-later-one")
    submit(fake.connections, request, fake.warnings.append)
    fake.store.put("state", "jobs/removed/chunks/000000000.parquet", b"")  # has no spec
    listed = all_statuses(fake.connections, fake.warnings.append, None)
    assert [status.job_id for status in listed] == ["a-later-one", "job"]
    probe = JobRequest("s3://photos", str(fake.pipeline), job_id=f"{PROBE_PIPELINE}-20261128-x")
    submit(fake.connections, probe, fake.warnings.append)
    assert latest_job_id(fake.connections) == "a-later-one"
    assert len(all_statuses(fake.connections, fake.warnings.append, 1)) == 1


def put_output(fake: Fake, job: str) -> None:
    spec = fake.connections.jobs.spec(job)
    for key in (success_key(spec), f"{output_root(spec)}rows/part-00000.parquet", "job-2/_SUCCESS"):
        fake.store.put("results", key, b"")
    put_segment(fake, 0, 0, 2)


def test_rm_takes_the_job_and_nothing_else(fake: Fake, job: str) -> None:
    put_output(fake, job)
    with pytest.raises(HeadraceError, match="is not over"):
        remove(fake.connections, job)
    close(fake)
    fake.store.put("state", "jobs/job-2/spec.json", b"{}")
    remove(fake.connections, job)
    assert list(fake.store.buckets["state"]) == ["jobs/job-2/spec.json"]
    assert list(fake.store.buckets["results"]) == ["job-2/_SUCCESS"]
    with pytest.raises(HeadraceError, match="no job"):
        remove(fake.connections, job)


def test_an_interrupted_rm_can_be_repeated_and_never_reopens_the_job(
    fake: Fake, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_output(fake, job)
    close(fake)
    delete = type(fake.store).delete

    def dies(self: object, bucket: str, key: str) -> None:
        if key == closed_key(job):
            raise KeyboardInterrupt
        delete(fake.store, bucket, key)

    monkeypatch.setattr(type(fake.store), "delete", dies)
    with pytest.raises(KeyboardInterrupt):
        remove(fake.connections, job)
    assert spec_key(job) not in fake.store.buckets["state"]
    request = JobRequest("s3://photos", str(fake.pipeline), job_id=job)
    with pytest.raises(HeadraceError, match="not all of it"):
        submit(fake.connections, request, fake.warnings.append)
    monkeypatch.setattr(type(fake.store), "delete", delete)
    remove(fake.connections, job)
    assert fake.store.buckets["state"] == {}


@pytest.fixture
def past(fake: Fake, job: str) -> str:
    """The job, as the version before this one wrote it."""
    spec = json.loads(fake.store.get("state", spec_key(job)))
    (model,) = spec["pipeline"].pop("models").values()
    spec["pipeline"] = {"name": "shape", "model": model, "postprocess": {"top_k": 5}}
    spec |= {"version": 3, "headrace_version": "0.0.9", "dropped": True}
    fake.store.put("state", spec_key(job), json.dumps(spec).encode())
    return job


def test_a_job_of_another_version_is_shown_as_failed(fake: Fake, past: str) -> None:
    (status,) = all_statuses(fake.connections, fake.warnings.append, None)
    assert status == look(fake) == [*follow(fake.connections, past, fake.warnings.append)][-1]
    assert (status.job_id, status.state, status.has_ended) == ("job", "failed", True)
    assert (status.pipeline, status.model, status.output) == ("shape", "shape", "s3://results/job/")
    assert "whose specs have version 3" in str(status.error)
    assert "\n" not in str(status.error)
    assert latest_job_id(fake.connections) == past


def test_a_job_of_another_version_that_has_ended_stays_as_it_ended(fake: Fake, past: str) -> None:
    close(fake, listed=3, succeeded=3)
    status = look(fake)
    assert (status.state, status.images.succeeded, status.error) == ("succeeded", 3, None)


def test_a_job_of_another_version_is_removed_with_its_rows(fake: Fake, past: str) -> None:
    fake.store.put("results", "job/rows/part-00000.parquet", b"")
    require_removable(fake.connections, past)
    remove(fake.connections, past)
    assert fake.store.buckets["state"] == fake.store.buckets["results"] == {}


@pytest.mark.parametrize("command", [cancel, resume, retry], ids=lambda c: c.__name__)
def test_a_job_of_another_version_is_told_in_one_line(
    fake: Fake, past: str, command: Callable[..., object]
) -> None:
    close(fake, listed=3, failed=3)
    with pytest.raises(HeadraceError, match="Enqueue it again") as caught:
        command(fake.connections, past, fake.warnings.append)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [b"", b"{}", b"[1]", b"\xff", b'{"version": 3, "created_at": "2026-01-01", "pipeline": 1}'],
)
def test_a_spec_that_is_none_is_a_job_that_failed(fake: Fake, job: str, spec: bytes) -> None:
    fake.store.put("state", spec_key(job), spec)
    assert [s.state for s in all_statuses(fake.connections, fake.warnings.append, None)] == [
        "failed"
    ]
    remove(fake.connections, job)
    assert fake.store.buckets["state"] == {}


def test_rm_of_something_inside_a_job_is_refused(fake: Fake, job: str) -> None:
    put_segment(fake, 0, 0, 2)
    with pytest.raises(HeadraceError, match="no job"):
        require_removable(fake.connections, f"{job}/manifest")
