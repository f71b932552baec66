"""Rows on stdout and in files, whole or not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from producer.cli import row_table
from producer.cli.exits import run
from producer.jobs import JobRequest, submit
from shared.job import Accounting, Closing
from shared.keys import part_key
from shared.rows import rows_schema
from tests.support import samples
from tests.support.fake_connections import Fake, fake_connections
from tests.support.job_in_memory import MemoryJob
from tests.support.row_files import to_parquet

SCHEMA = rows_schema(samples.pipeline())
HOSTILE = "é \x1b[31m \x07 \r \x7f \x9b \u202e.jpg"


def row(number: int, *, failed: bool = False) -> dict[str, Any]:
    best = {"label": "tabby, cat", "score": 0.5}
    return {
        **dict.fromkeys(SCHEMA.names),
        **{"job_id": "job", "key": f"in/{number}\n.jpg", "etag": "e", "size": 3},
        **{"uri": f"s3://photos/in/{number}\n.jpg", "name": f"{number}\n.jpg"},
        **{"pipeline": "shape", "model": "shape", "model_version": "0" * 64},
        "status": "failed" if failed else "ok",
        "error_code": "empty" if failed else None,
        "error_message": "It has no bytes." if failed else None,
        **({} if failed else best),
        "predictions": [] if failed else [best],
    }


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """An ended job with 50 rows in two parts, every tenth of them failed."""
    fake = fake_connections(tmp_path)
    fake.put_images("photos", "a.jpg")
    request = JobRequest("s3://photos", str(fake.pipeline), job_id="job")
    spec = submit(fake.connections, request, fake.warnings.append)
    for part, numbers in enumerate((range(30), range(30, 50))):
        rows = [row(number, failed=number % 10 == 0) for number in numbers]
        data = to_parquet(pa.Table.from_pylist(rows, schema=SCHEMA), {})
        fake.store.put("results", part_key(spec, part), data)
    counts = Accounting(listed=50, succeeded=45, failed=5)
    fake.connections.jobs.create_closing("job", Closing(state="succeeded", accounting=counts))
    monkeypatch.setattr("producer.connections.connect_stack", lambda: fake.connections)
    return fake


def test_a_table_shows_twenty_rows_by_default(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["results", "job"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 21
    assert "in/1\\n.jpg" in printed.out
    assert "first 20 rows" in printed.err
    assert run(["results", "job", "--limit", "50"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 51
    assert printed.err == ""


def test_a_table_notes_errors_and_warnings() -> None:
    note = row_table._note({**row(1), "warning": "damaged_data"})
    assert note == "warning: damaged_data"
    assert row_table._note({**row(1, failed=True), "warning": "damaged_data"}) == (
        "empty: It has no bytes."
    )


def test_a_table_of_the_long_form_has_a_short_cell_for_each_analysis(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    job = MemoryJob(3, pipeline=samples.catalogue(), answer=samples.CATALOGUE_ANSWER)
    job.seal()
    job.finish_all()
    job.collector().once()
    for bucket, objects in job.store.buckets.items():
        fake.store.buckets[bucket] = objects
    assert run(["results", "job"]) == 0
    header, first, *_, failed, _ = capsys.readouterr().out.splitlines()
    assert header.split() == ["KEY", "STATUS", "KINDS", "EMBEDDING", "COLOURS", "EXTRA", "NOTE"]
    for cell in ("cat 0.7500", "3 numbers", "#1e90ff dodgerblue", '{"text": "é", "n": [1, 2]}'):
        assert cell in first
    assert failed.split()[-5:] == ["failed", "corrupt:", "It", "is", "damaged."]


def test_status_and_limit(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["results", "job", "--format", "jsonl", "--status", "failed", "--limit", "4"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["key"] for one in rows] == [f"in/{number}\n.jpg" for number in (0, 10, 20, 30)]
    assert list(rows[0]) == SCHEMA.names


def test_files_by_their_endings(fake: Fake, tmp_path: Path) -> None:
    for name in ("rows.csv", "rows.jsonl", "rows.parquet"):
        assert run(["results", "job", "-o", str(tmp_path / name)]) == 0
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (len(rows), rows[1]["key"], rows[1]["label"]) == (50, "in/1\n.jpg", "tabby, cat")
    assert json.loads(rows[1]["predictions"]) == [{"label": "tabby, cat", "score": 0.5}]
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 50
    assert pq.read_table(tmp_path / "rows.parquet").schema.equals(SCHEMA)


def test_a_file_that_cannot_be_written(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["results", "job", "-o", str(tmp_path / "no" / "rows.csv")]) == 1
    assert "Cannot write" in capsys.readouterr().err


def test_parquet_is_not_for_terminals(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run(["results", "job", "--format", "parquet"]) == 2
    assert "-o FILE" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_is_shown_no_control_characters(
    fake: Fake,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    form: str,
    is_terminal: bool,
) -> None:
    def one_row(*_: object, **__: object) -> Iterator[pa.Table]:
        yield pa.Table.from_pylist([{**row(0), "key": HOSTILE}], SCHEMA)

    monkeypatch.setattr("producer.job_rows.iter_rows", one_row)
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    assert run(["results", "job", "--format", form]) == 0
    out = capfdbinary.readouterr().out
    raw = {char for char in out.decode() if not char.isprintable()} - {"\n"}
    if is_terminal:
        assert raw == set()
        assert ("é".encode() in out) or form == "jsonl"
    elif form == "csv":
        assert HOSTILE.encode() in out


def test_a_job_that_has_not_ended_says_so(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.store.delete("state", "jobs/job/closed.json")
    assert run(["results", "job", "--format", "jsonl"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 50
    assert "has not ended" in printed.err


def test_errors_by_code(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["errors", "job", "--json"]) == 0
    (error,) = json.loads(capsys.readouterr().out)
    assert (error["code"], error["count"], error["example_key"]) == ("empty", 5, "in/0\n.jpg")
    assert run(["errors", "job"]) == 0
    assert capsys.readouterr().out.startswith("empty: 5\n")


def test_wait_fails_on_image_errors_only_if_asked(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["wait", "job", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"]["failed"] == 5
    assert run(["wait", "job", "--fail-on-image-errors"]) == 1
    printed = capsys.readouterr()
    assert "5 failed" in printed.out
    assert printed.err.splitlines()[-1].startswith("headrace: error: 5 images failed.")


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_wait_fails_unless_the_job_succeeded(
    fake: Fake, state: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.store.delete("state", "jobs/job/closed.json")
    closing = Closing(state=state, accounting=Accounting(), error="it does not add up")
    fake.connections.jobs.create_closing("job", closing)
    assert run(["wait", "job", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["state"] == state
    assert json.loads(printed.err)["error"]["code"] == f"job_{state}"


def test_ctrl_c_detaches(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    fake.store.delete("state", "jobs/job/closed.json")
    monkeypatch.setattr("time.sleep", interrupt)
    assert run(["wait", "job"]) == 130
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "headrace wait job" in printed.err
    assert "headrace cancel job" in printed.err
    assert not fake.connections.jobs.is_cancelled("job")
