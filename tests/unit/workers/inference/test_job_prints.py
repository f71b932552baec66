"""What users' classes print is in the log, a line each, and never more than a bound."""

from __future__ import annotations

import pytest

from workers.inference import prints
from workers.inference.prints import JobPrints


def test_each_line_has_the_job_and_the_class(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "headrace.class")
    JobPrints().write(["a", "b", "a"], "own", "one\ntwo\n")
    assert caplog.messages == ["a own | one", "a own | two", "b own | one", "b own | two"]


def test_no_print_can_pass_for_another_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "headrace.class")
    JobPrints().write(["a"], "own", "x\r2026 ERROR forged\x1b[2J\x00\u2028y")
    assert all(m.startswith("a own | ") and m.isprintable() for m in caplog.messages)


def test_a_flood_of_one_job_is_cut_and_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "headrace.class")
    monkeypatch.setattr(prints, "MAX_JOB_BYTES", 100)
    writer = JobPrints()
    for _ in range(5):
        writer.write(["a"], "own", "12345678")
    writer.write(["b"], "own", "other")
    assert caplog.messages == [
        "a own | 12345678",
        "a own | 12345678",
        "a own | what else it prints is dropped",
        "b own | other",
    ]


def test_few_jobs_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prints, "_REMEMBERED_JOBS", 3)
    writer = JobPrints()
    for number in range(10):
        writer.write([f"job-{number}"], "own", "x")
    assert len(writer._written) == 3
