"""When a job is stopped for its errors, and that it never is by counters that miss something."""

from __future__ import annotations

import pytest

from producer.jobs import parse_max_errors
from producer.lead.error_limit import stop_of
from shared.errors import UsageError
from shared.job import JobSpec, MaxErrors
from shared.ledger import JobProgress
from tests.support.samples import pipeline

TEN, TEN_PERCENT = MaxErrors(images=10), MaxErrors(percent=10)


def spec(limit: MaxErrors | None, **changes: object) -> JobSpec:
    given = {
        "job_id": "job",
        "bucket": "photos",
        "output_bucket": "results",
        "chunk_items": 10,
        "max_errors": limit,
        "pipeline": pipeline(),
        "pipeline_sha256": "",
        "headrace_version": "0",
    }
    return JobSpec.model_validate({**given, **changes})


def progress(succeeded: int, failed: int, *, missed: int = 0) -> JobProgress:
    """Chunks of ten, of which the ledger's counters miss some, or count some twice."""
    chunks = (succeeded + failed) // 10
    counters = {"succeeded": succeeded, "failed": failed, "chunks": chunks}
    return JobProgress("0" * 16, "job", chunks + missed, 0, False, counters)


@pytest.mark.parametrize(
    ("limit", "succeeded", "failed", "stops"),
    [
        (None, 0, 10_000, False),
        (TEN, 90, 10, False),
        (TEN, 9, 11, True),
        (MaxErrors(images=0), 19, 1, True),
        (TEN_PERCENT, 0, 99, False),
        (TEN_PERCENT, 90, 10, False),
        (TEN_PERCENT, 89, 11, True),
    ],
)
def test_a_job_is_stopped_when_more_fail_than_may(
    limit: MaxErrors | None, succeeded: int, failed: int, stops: bool
) -> None:
    stop = stop_of(spec(limit), progress(succeeded, failed))
    assert (stop is not None) == stops
    if stop:
        assert stop.reason == "too_many_errors"


def test_counters_that_began_again_after_a_wipe_stop_nothing_by_their_share() -> None:
    assert stop_of(spec(TEN_PERCENT), progress(80, 20, missed=10)) is None
    assert stop_of(spec(TEN_PERCENT), progress(80, 30, missed=10)) is not None
    assert stop_of(spec(TEN), progress(80, 20, missed=10)) is None, "the closing decides"
    assert stop_of(spec(TEN), progress(80, 200, missed=1)) is None
    assert stop_of(spec(TEN), progress(80, 20)) is not None


def test_a_chunk_that_was_counted_twice_stops_nothing() -> None:
    assert stop_of(spec(TEN), progress(60, 20, missed=-1)) is None
    assert stop_of(spec(TEN), progress(60, 21, missed=-1)) is not None


def test_a_retry_is_stopped_by_a_number_alone() -> None:
    """A percentage is one of all rows of the job that it retries."""
    assert stop_of(spec(TEN_PERCENT, retry_of="first"), progress(0, 200)) is None
    assert stop_of(spec(TEN, retry_of="first"), progress(0, 20)) is not None


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("100", MaxErrors(images=100)),
        ("0", MaxErrors(images=0)),
        (" 7 ", MaxErrors(images=7)),
        ("5%", MaxErrors(percent=5)),
        ("0.5%", MaxErrors(percent=0.5)),
        ("0%", MaxErrors(percent=0)),
        ("100.0%", MaxErrors(percent=100)),
        ("5 %", MaxErrors(percent=5)),
        (".5%", MaxErrors(percent=0.5)),
        ("0.000001%", MaxErrors(percent=0.000001)),
        ("9" * 12, MaxErrors(images=10**12 - 1)),
    ],
)
def test_what_max_errors_may_be(text: str, limit: MaxErrors) -> None:
    assert parse_max_errors(text) == limit


@pytest.mark.parametrize(
    "text",
    [
        *("", "%", "-1", "-1%", "1.5", "101%", "100.1%", "nan%", "inf", "1e3", "five", "5 percent"),
        *("5%%", "½%", "٥", "1,000", "0x1", "5.%", ".%", ".5", "% 5", "5 5%"),
    ],
)
def test_what_max_errors_may_not_be(text: str) -> None:
    with pytest.raises(UsageError, match="Give a number of images, as in 100, or a percentage"):
        parse_max_errors(text)


@pytest.mark.parametrize("text", ["9" * 13, "9" * 5000, "1." + "0" * 12 + "%", "0" * 13 + "%"])
def test_a_number_that_is_too_long_is_said_plainly(text: str) -> None:
    with pytest.raises(UsageError, match="--max-errors may have at most 12 digits"):
        parse_max_errors(text)


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        (MaxErrors(percent=0.000001), "0.000001%"),
        (MaxErrors(percent=99.9999999), "99.9999999%"),
        (MaxErrors(percent=100), "100%"),
        (MaxErrors(percent=10), "10%"),
        (MaxErrors(percent=0), "0%"),
        (MaxErrors(percent=0.5), "0.5%"),
        (MaxErrors(images=1000), "1,000"),
    ],
)
def test_how_a_limit_is_shown(limit: MaxErrors, shown: str) -> None:
    assert str(limit) == shown


def test_another_limit_is_another_job() -> None:
    assert spec(TEN).differences(spec(None)) == ["max_errors.images: 10 -> None"]
    assert spec(TEN).differences(spec(TEN_PERCENT)) == [
        "max_errors.images: 10 -> None",
        "max_errors.percent: None -> 10.0",
    ]
    assert spec(TEN).differences(spec(TEN)) == []
