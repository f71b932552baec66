"""What the status of a retry, and of the jobs around it, says and costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from producer.cli.exits import run
from producer.jobs import job_status
from shared.job import Accounting, Closing, JobSpec
from tests.support.fake_connections import Fake, fake_connections
from tests.support.samples import pipeline


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = fake_connections(tmp_path)
    monkeypatch.setattr("producer.connections.connect_stack", lambda: fake.connections)
    return fake


def chain(fake: Fake, retries: int) -> list[str]:
    """A job of 156 images, of which 60 fail, and retries that repair 20, and then none."""
    names = [f"job-{number}" for number in range(retries + 1)]
    for number, name in enumerate(names):
        before = names[number - 1] if number else None
        spec = JobSpec(
            job_id=name,
            bucket="photos",
            output_bucket="results",
            retry_of=before,
            pipeline=pipeline(),
            pipeline_sha256="",
            headrace_version="0",
        )
        fake.connections.jobs.create_spec(spec)
        counts = Accounting(listed=156, succeeded=96, failed=60)
        if before:
            fake.connections.jobs.add_retry(before, name)
            counts = Accounting(listed=40, failed=40)
        if number == 1:
            counts = Accounting(listed=60, succeeded=20, failed=40)
        closing = Closing(state="succeeded", accounting=counts)
        fake.connections.jobs.create_closing(name, closing)
    return names


@pytest.mark.parametrize("command", ["status", "wait"])
def test_a_retry_says_what_has_decided(
    fake: Fake, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _, last = chain(fake, 2)
    line = "with the jobs that it retries: 116 succeeded, 40 failed"
    assert run([command, last]) == 0
    said = capsys.readouterr().out
    assert "40 listed, 40 failed" in said
    assert line in said
    assert run([command, first]) == 0
    assert "with the jobs" not in capsys.readouterr().out
    assert run([command, last, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"]["failed"] == 40
    fake.store.delete("state", f"jobs/{first}/spec.json")
    fake.store.delete("state", "jobs/job-1/spec.json")
    assert run([command, last]) == 0
    assert "with the jobs" not in capsys.readouterr().out


def requests(fake: Fake, retries: int, monkeypatch: pytest.MonkeyPatch) -> int:
    names, asked, request = chain(fake, retries), list[str](), fake.store.request

    def counting(name: str, key: str, action: object) -> object:
        asked.append(key)
        return request(name, key, action)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(fake.store, "request", counting)
        status = job_status(fake.connections, names[0], fake.warnings.append)
    assert (status.images.succeeded, status.images.failed) == (116, 40)
    return len(asked)


def test_a_long_chain_costs_no_more_than_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    for length in (5, 10, 20):
        (tmp_path / str(length)).mkdir()
        counts.append(requests(fake_connections(tmp_path / str(length)), length, monkeypatch))
    few, more, most = counts
    assert few > 5, "they are counted"
    assert most - more == 2 * (more - few)
