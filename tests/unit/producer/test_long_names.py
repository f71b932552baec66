"""Texts of any length and kind: each ends in an error of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from producer.cli.exits import run
from producer.jobs import JobRequest, submit
from tests.support.fake_connections import Fake, fake_connections

TEXTS = {
    "empty": "",
    "long": "a" * 300,
    "longer": "a" * 5000,
    "longest": "a" * 200_000,
    "deep": "a/" * 3000,
    "dots": "../" * 3000,
    "NUL": "a\0b",
    "surrogate": "a\udc80",
    "another's home": "~nobody-here/a",
    "home and long": "~/" + "a" * 5000,
    "lines": "a\nb",
}
COMMANDS = {
    "source": ["enqueue", "{}", "--pipeline", "{pipeline}"],
    "prefix": ["enqueue", "s3://photos/{}", "--pipeline", "{pipeline}"],
    "bucket": ["enqueue", "s3://{}", "--pipeline", "{pipeline}"],
    "include": ["enqueue", "s3://photos", "--pipeline", "{pipeline}", "--include", "{}"],
    "exclude": ["enqueue", "s3://photos", "--pipeline", "{pipeline}", "--exclude", "{}"],
    "output": ["enqueue", "s3://photos", "--pipeline", "{pipeline}", "--output", "{}"],
    "output prefix": [
        "enqueue",
        "s3://photos",
        "--pipeline",
        "{pipeline}",
        "--output",
        "s3://o/{}",
    ],
    "job id": ["enqueue", "s3://photos", "--pipeline", "{pipeline}", "--job-id", "{}"],
    "pipeline": ["enqueue", "s3://photos", "--pipeline", "{}"],
    "pipeline file": ["enqueue", "s3://photos", "--pipeline", "./{}.yaml"],
    "max errors": ["enqueue", "s3://photos", "--pipeline", "{pipeline}", "--max-errors", "{}"],
    "status": ["status", "{}"],
    "errors": ["errors", "{}"],
    "rm": ["rm", "--yes", "{}"],
    "retry": ["retry", "--failed", "{}"],
    "results": ["results", "{}"],
    "results file": ["results", "job", "-o", "{}.csv"],
    "results object": ["results", "job", "-o", "s3://results/{}.csv"],
    "upload": ["upload", "{}", "s3://photos"],
}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    monkeypatch.chdir(tmp_path)
    fake = fake_connections(tmp_path)
    fake.put_images("photos", "a.jpg")
    request = JobRequest("s3://photos", str(fake.pipeline), job_id="job")
    submit(fake.connections, request, fake.warnings.append)
    monkeypatch.setattr("producer.connections.connect_stack", lambda: fake.connections)
    return fake


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_text_is_unexpected(
    fake: Fake, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in TEXTS.items():
        arguments = [
            part.replace("{pipeline}", str(fake.pipeline)).replace("{}", text) for part in command
        ]
        assert run(arguments) in (0, 1, 2), name
        said = capsys.readouterr().err
        assert "should not have happened" not in said, (name, said[-300:])
