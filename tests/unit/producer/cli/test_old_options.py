"""Options that have a new name still work by the old one, and say so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from producer.cli.exits import run
from producer.jobs import JobRequest

ENQUEUE = ["enqueue", "s3://photos", "--pipeline", "classify"]


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[JobRequest]:
    """What is enqueued, without a stack to enqueue it to."""
    found: list[JobRequest] = []

    def submit(_connections: object, request: JobRequest, *_: Any, **__: Any) -> SimpleNamespace:
        found.append(request)
        return SimpleNamespace(job_id="job")

    monkeypatch.setattr("producer.connections.connect_stack", lambda: None)
    monkeypatch.setattr("producer.jobs.submit", submit)
    return found


def test_chunk_items_is_the_option_of_today(
    requests: list[JobRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*ENQUEUE, "--chunk-items", "8"]) == 0
    assert [request.chunk_items for request in requests] == [8]
    assert "--batch-size" not in capsys.readouterr().err


def test_batch_size_still_works_and_names_its_successor(
    requests: list[JobRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*ENQUEUE, "--batch-size", "8"]) == 0
    assert [request.chunk_items for request in requests] == [8]
    assert "--chunk-items" in capsys.readouterr().err
    assert run(["enqueue", "--help"]) == 0
    assert "--batch-size" not in capsys.readouterr().out


def test_both_names_at_once_are_refused(
    requests: list[JobRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*ENQUEUE, "--batch-size", "8", "--chunk-items", "9"]) == 2
    assert requests == []
    assert "--chunk-items" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "513", "eight"])
def test_the_old_name_has_the_same_bounds(requests: list[JobRequest], value: str) -> None:
    assert run([*ENQUEUE, "--batch-size", value]) == 2
    assert requests == []


@pytest.mark.parametrize("options", [[], ["--failed"]], ids=["new", "old"])
def test_retry_takes_the_failed_images_with_or_without_its_option(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    retried: list[str] = []

    def retry(_connections: object, job_id: str, *_: Any, **__: Any) -> SimpleNamespace:
        retried.append(job_id)
        return SimpleNamespace(job_id="again")

    monkeypatch.setattr("producer.connections.connect_stack", lambda: None)
    monkeypatch.setattr("producer.jobs.retry", retry)
    assert run(["retry", "job", *options]) == 0
    assert retried == ["job"]
    assert capsys.readouterr().out == "again\n"
