"""Which jobs have failed, why, and what they say: decided from the parts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.errors import ItemErrorCode
from shared.item import ItemFailure
from shared.job import Accounting, Closing, JobStop, MaxErrors
from tests.support.job_in_memory import MemoryJob

TOO_MANY = JobStop(error="At least 3 images failed.", reason="too_many_errors")


def failing(job: MemoryJob, *chunks: int, code: ItemErrorCode = ItemErrorCode.MODEL_ERROR) -> None:
    """Finish these chunks, every image of them failed."""
    failure = ItemFailure(error_code=code, error_message="too\ndark.")
    for chunk in chunks:
        job.finish(chunk, rows=[failure] * len(job.chunks[chunk]))


def closed(job: MemoryJob) -> Closing:
    job.collector().once()
    closing = job.closing()
    said = json.loads(job.output()["manifest.json"])
    assert (said["state"], said["reason"], said["error"]) == (
        closing.state,
        closing.reason,
        closing.error,
    )
    assert ("_SUCCESS" in job.output()) == (closing.state == "succeeded")
    assert (closing.error is None) == (closing.state != "failed")
    assert "\n" not in str(closing.error)
    assert job.chunk_files() == [], "the parts hold all rows"
    return closing


def test_a_job_of_which_no_image_succeeded_has_failed_and_names_the_most_frequent_error() -> None:
    job = MemoryJob(4)
    job.seal()
    failing(job, 1, code=ItemErrorCode.CORRUPT)
    failing(job, 0, 2, 3)
    closing = closed(job)
    assert (closing.state, closing.reason) == ("failed", "no_success")
    assert closing.accounting == Accounting(listed=8, failed=8, skipped=1)
    assert closing.error == (
        "No image succeeded: 8 of 8 failed, 6 of them as model_error, for example "
        "a photo 0000.jpg: too dark. See 'headrace errors job'."
    )
    assert sum(job.rows().values()) == 8


def test_one_success_is_a_success() -> None:
    job = MemoryJob(2)
    job.seal()
    job.finish(0)
    failing(job, 1)
    assert closed(job).state == "succeeded"


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        (MaxErrors(images=0), "too_many_errors"),
        (MaxErrors(images=2), "too_many_errors"),
        (MaxErrors(images=3), None),
        (MaxErrors(percent=0), None),  # of 16 rows no percentage counts
        (MaxErrors(percent=10), None),
    ],
)
def test_more_failures_than_may_be(limit: MaxErrors, reason: str | None) -> None:
    """Three of sixteen fail."""
    job = MemoryJob(8, max_errors=limit)
    job.seal()
    job.finish_all()
    closing = closed(job)
    assert closing.reason == reason
    if reason:
        assert closing.error == (
            f"3 of 16 images failed, and --max-errors allows {limit}, all of them as corrupt, "
            "for example a photo 0004.jpg: It is damaged. See 'headrace errors job'."
        )


@pytest.mark.parametrize(
    ("chunks", "percent", "reason"),
    [
        (49, 0.0, None),  # 98 rows
        (50, 20.0, None),  # exactly a fifth of 100
        (50, 19.9, "too_many_errors"),
        (50, 0.0, "too_many_errors"),
        (50, 100.0, None),
    ],
)
def test_a_percentage_counts_from_100_rows_on(
    chunks: int, percent: float, reason: str | None
) -> None:
    job = MemoryJob(chunks, max_errors=MaxErrors(percent=percent))
    job.seal()
    job.finish_all()
    assert closed(job).reason == reason


@pytest.mark.parametrize("by_seal", [True, False])
def test_a_job_that_was_stopped_for_its_errors_has_failed(by_seal: bool) -> None:
    job = MemoryJob(8, max_errors=MaxErrors(images=2))
    job.jobs.stop("job", job.spec.job_uid, TOO_MANY)
    job.seal(cancelled=by_seal)
    job.finish(0, 1)
    failing(job, 2, 3)
    closing = closed(job)
    assert (closing.state, closing.reason) == ("failed", "too_many_errors")
    assert closing.accounting == Accounting(
        listed=16, succeeded=4, failed=4, cancelled=8, skipped=1
    )
    others = "8 and those that were not listed yet" if by_seal else "8"
    assert closing.error == (
        "Stopped early: 4 of 8 images failed, and --max-errors allows 2, all of them as "
        "model_error, for example a photo 0004.jpg: too dark. See 'headrace errors job'. "
        f"Images not processed: {others}; to run them, enqueue again."
    )


def test_a_stop_by_counters_that_counted_twice_says_the_true_numbers() -> None:
    job = MemoryJob(8, max_errors=MaxErrors(images=2))
    job.jobs.stop("job", job.spec.job_uid, TOO_MANY)
    job.seal()
    job.finish(0, 1, 2)
    closing = closed(job)
    assert closing.reason == "too_many_errors"
    assert str(closing.error).startswith(
        "When it was stopped, more images had failed than --max-errors 2 allows; of the 6 finished "
        "by the end, 1 failed. Images not processed: 10; to run them"
    )


@pytest.mark.parametrize("stop", [TOO_MANY, JobStop(error="The class is broken.")])
def test_a_stop_that_left_nothing_out_decides_nothing(stop: JobStop) -> None:
    job = MemoryJob(8, max_errors=MaxErrors(images=3))
    job.jobs.stop("job", job.spec.job_uid, stop)
    job.seal()
    job.finish_all()
    assert closed(job).state == "succeeded"


@pytest.mark.parametrize("stop", [None, TOO_MANY])
def test_a_job_that_its_user_cancelled_is_cancelled_whatever_its_rows(stop: JobStop | None) -> None:
    job = MemoryJob(8, max_errors=MaxErrors(images=0))
    job.jobs.cancel("job")
    if stop:
        job.jobs.stop("job", job.spec.job_uid, stop)
    job.seal()
    failing(job, 0, 1)
    assert closed(job).state == "cancelled"


def test_a_model_that_cannot_be_loaded_is_the_first_that_is_said() -> None:
    job = MemoryJob(8)
    job.jobs.stop("job", job.spec.job_uid, JobStop(error="There are no weights."))
    job.seal()
    closing = closed(job)
    assert closing.reason == "no_success"
    assert closing.error == (
        "There are no weights. Images not processed: 16; to run them, enqueue again."
    )


def test_a_job_that_cannot_be_computed_any_more_was_not_run_to_its_end() -> None:
    job = MemoryJob(8, max_errors=MaxErrors(images=100))
    job.jobs.stop("job", job.spec.job_uid, JobStop(error="The class is broken."))
    job.seal(cancelled=True)
    job.finish(0)
    closing = closed(job)
    assert (closing.state, closing.reason) == ("failed", "not_closed")
    assert closing.error == (
        "The class is broken. Images not processed: 14 and those that were not listed yet; to run "
        "them, enqueue again."
    )


def test_a_job_whose_parts_lack_rows_keeps_its_chunk_files() -> None:
    job = MemoryJob(4)
    job.seal(listed=9)
    job.finish_all()
    job.collector().once()
    assert job.closing().reason == "not_closed"
    assert len(job.chunk_files()) == 4


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ({}, "No image was listed: there is no object under 's3://photos/'."),
        (
            {"include": ("*.png",)},
            "No image was listed: there is no object under 's3://photos/' that --include and "
            "--exclude let in.",
        ),
    ],
)
def test_nothing_listed_is_said_in_words_of_its_own(spec: dict[str, Any], error: str) -> None:
    job = MemoryJob(0, **spec)
    job.seal()
    assert closed(job).error == error


def family(first: Accounting, **spec: Any) -> MemoryJob:
    """A retry of four images of a job that ended so."""
    parent = MemoryJob(1, job_id="first", job_uid="1" * 16)
    parent.jobs.create_closing("first", Closing(state="failed", accounting=first))
    parent.jobs.add_retry("first", "job")
    retry = MemoryJob(2, store=parent.store, retry_of="first", **spec)
    retry.seal()
    return retry


@pytest.mark.parametrize(
    ("first", "limit", "reason"),
    [
        (Accounting(listed=4, failed=4), None, "no_success"),
        (Accounting(listed=9, succeeded=5, failed=4), None, None),
        (Accounting(listed=9, succeeded=5, failed=4), MaxErrors(images=3), "too_many_errors"),
        (Accounting(listed=9, succeeded=5, failed=4), MaxErrors(images=4), None),
        (Accounting(listed=99, succeeded=95, failed=4), MaxErrors(percent=1), None),
        (Accounting(listed=100, succeeded=96, failed=4), MaxErrors(percent=1), "too_many_errors"),
    ],
)
def test_a_retry_that_fixes_nothing_ends_by_all_rows(
    first: Accounting, limit: MaxErrors | None, reason: str | None
) -> None:
    retry = family(first, max_errors=limit)
    failing(retry, 0, 1)
    closing = closed(retry)
    assert closing.reason == reason
    assert closing.accounting == Accounting(listed=4, failed=4, skipped=1), "its own"


def test_what_a_retry_left_out_is_still_failed_in_the_first_job() -> None:
    retry = family(Accounting(listed=9, failed=9))
    retry.jobs.stop("job", retry.spec.job_uid, JobStop(error="There are no weights."))
    assert closed(retry).error == (
        "There are no weights. Images not processed: 4; to run them, say 'headrace retry first "
        "--failed'."
    )


def test_a_retry_that_fixes_enough_turns_the_state() -> None:
    retry = family(Accounting(listed=9, failed=9), max_errors=MaxErrors(images=7))
    retry.finish(0)
    failing(retry, 1)
    assert closed(retry).state == "succeeded"


def test_a_retry_counts_what_earlier_ones_have_fixed() -> None:
    retry = family(Accounting(listed=9, failed=9), max_errors=MaxErrors(images=3))
    older = MemoryJob(1, store=retry.store, job_id="older", job_uid="2" * 16, retry_of="first")
    ended = Closing(state="failed", accounting=Accounting(listed=9, succeeded=6, failed=3))
    older.jobs.create_closing("older", ended)
    older.jobs.add_retry("first", "older")
    failing(retry, 0, 1)
    assert closed(retry).state == "succeeded"


def test_a_retry_whose_first_job_was_removed_ends_by_its_own_rows() -> None:
    retry = family(Accounting(listed=9, succeeded=5, failed=4))
    retry.store.delete("state", "jobs/first/spec.json")
    failing(retry, 0, 1)
    assert closed(retry).reason == "no_success"
