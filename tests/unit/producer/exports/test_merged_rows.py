"""One table after a retry: as ``results -o`` writes it, and as README's query reads it."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pandas
import pyarrow.parquet as pq
import pytest

from producer.cli.exits import run
from shared.job_store import JobStore
from shared.rows import rows_schema
from shared.settings import PROJECT_ROOT
from shared.storage import StoreUnavailable
from tests.support import samples
from tests.support.fake_connections import fake_connections
from tests.support.job_in_memory import MemoryJob


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryJob:
    """Of 16 images 3 fail, two retries repair one each, the second with a warning."""
    job = MemoryJob(8)
    job.seal()
    job.finish_all()
    job.collector().once()
    bad = [item for items in job.chunks for item in items if int(item.etag[1:]) % 5 == 4]
    last = job
    for number in range(2):
        retry = MemoryJob(
            [tuple(bad[number:])],
            store=job.store,
            job_id=f"{9 - number}-retry",  # in another order than by name
            job_uid=f"{number:016x}",
            retry_of=last.spec.job_id,
        )
        job.jobs.add_retry(last.spec.job_id, retry.spec.job_id)
        good = {
            "classes": samples.prediction(f"é {number}"),
            "warning": "damaged_data" if number else None,
        }
        retry.finish(0, rows=[good, *map(retry.row_of, bad[number + 1 :])])
        retry.seal()
        retry.collector().once()
        last = retry
    fake = fake_connections(tmp_path)
    state = JobStore(job.store, "state")
    for name, value in (("jobs", state), ("store_of", lambda _bucket: job.store)):
        object.__setattr__(fake.connections, name, value)
    monkeypatch.setattr("producer.connections.connect_stack", lambda: fake.connections)
    return job


def write(job: MemoryJob, place: str, *options: str) -> bytes:
    assert run(["results", "job", "-o", place, *options]) == 0
    bucket, _, key = place.removeprefix("s3://").partition("/")
    return job.store.buckets[bucket][key]


def summary(rows: list[dict[str, Any]]) -> list[tuple[str, str, str | None, str | None]]:
    """Sorted; ``""`` of CSV is null."""
    names = ("key", "status", "label", "warning")
    return sorted(tuple(row[name] or None for name in names) for row in rows)  # type: ignore[misc]


EXPECTED_LABELS = {"a photo 0004.jpg": "é 0", "a photo 0009.jpg": "é 1", "a photo 0014.jpg": None}


def merged(job: MemoryJob) -> list[dict[str, Any]]:
    table = pq.read_table(io.BytesIO(write(job, "s3://results/all.parquet")))
    assert table.schema.equals(rows_schema(job.spec.pipeline))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def test_an_object_has_the_newest_row_of_each_image(job: MemoryJob) -> None:
    rows = merged(job)
    assert len(rows) == len({row["key"] for row in rows}) == 16
    by_key = {row["key"]: row for row in rows}
    assert {key: by_key[key]["label"] for key in EXPECTED_LABELS} == EXPECTED_LABELS
    assert by_key["a photo 0009.jpg"]["warning"] == "damaged_data"


def test_every_format_has_the_same_rows(job: MemoryJob, tmp_path: Path) -> None:
    expected = summary(merged(job))
    text = write(job, "s3://results/deep/er/all.csv").decode()
    assert next(csv.reader(io.StringIO(text))) == rows_schema(job.spec.pipeline).names
    assert summary(list(csv.DictReader(io.StringIO(text)))) == expected
    lines = write(job, "s3://results/rows", "--format", "jsonl").decode().split("\n")[:-1]
    assert summary([json.loads(line) for line in lines]) == expected
    assert run(["results", "job", "-o", str(tmp_path / "ROWS.CSV")]) == 0
    assert (tmp_path / "ROWS.CSV").read_text() == text


def test_what_is_there_is_replaced_only_by_the_whole(
    job: MemoryJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = write(job, "s3://results/all.csv")
    get = job.store.get

    def stops(bucket: str, key: str) -> bytes:
        if key.endswith("part-00002.parquet"):
            raise StoreUnavailable("store_unavailable", "away")
        return get(bucket, key)

    monkeypatch.setattr(job.store, "get", stops)
    assert run(["results", "job", "-o", "s3://results/all.csv"]) == 1
    assert job.store.buckets["results"]["all.csv"] == before


def test_a_filter_and_a_limit_hold_here_too(job: MemoryJob) -> None:
    data = write(job, "s3://results/some.jsonl", "--status", "failed")
    assert data.count(b"\n") == 1
    assert write(job, "s3://results/some.jsonl", "--limit", "5").count(b"\n") == 5


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("s3://results", "Say --format"),
        ("s3://results/all.txt", "Say --format"),
        ("s3://results/all.parquet/", "names no object"),
        ("s3://result/all.csv", "Did you mean 'results'?"),
        ("s3://models/all.csv", "Headrace's own"),
        ("s3://state/jobs/all.csv", "Headrace's own"),
        ("s3://results/job/", "Say --format"),
        *(
            (f"{place}{name}", "could be part of a job's own output")
            for place in ("s3://results/job/", "S3://results/8-retry/", "s3://photos/others/job/")
            for name in ("rows/all.parquet", "rows/deep/all.csv", "rows/part-00000.parquet")
        ),
        ("s3://Results/all.csv", "is not a bucket name"),
    ],
)
def test_where_nothing_may_be_written(
    job: MemoryJob, place: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {bucket: dict(objects) for bucket, objects in job.store.buckets.items()}
    assert run(["results", "job", "-o", place]) != 0
    said = capsys.readouterr().err
    assert says in said
    assert "/job/merged" not in said, "which 'rm' would delete"
    assert job.store.buckets == before


@pytest.mark.parametrize("name", ["manifest.json", "_SUCCESS"])
@pytest.mark.parametrize("job_id", ["job", "9-retry", "of-another"])
def test_no_marker_and_no_manifest_is_written(
    job: MemoryJob, job_id: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = dict(job.store.buckets["results"])
    place = f"s3://results/{job_id}/{name}"
    assert run(["results", "job", "-o", place, "--format", "jsonl"]) != 0
    assert "could be part of a job's own output" in capsys.readouterr().err
    assert job.store.buckets["results"] == before


def test_only_parts_are_read(job: MemoryJob) -> None:
    before = merged(job)
    for name in ("all.parquet", "notes.txt", "part-1.parquet", "sub/part-00000.parquet"):
        job.store.put("results", f"job/rows/{name}", b"not ours")
    assert merged(job) == before


def test_the_scheme_may_be_in_capital_letters(job: MemoryJob) -> None:
    assert run(["results", "job", "-o", "S3://results/all.csv"]) == 0
    assert job.store.buckets["results"]["all.csv"]


def test_the_folder_of_the_job_will_do(job: MemoryJob) -> None:
    assert write(job, "s3://results/job/merged.parquet")


def readme_code() -> str:
    """The example that reads a job and its retries."""
    text = (PROJECT_ROOT / "README.md").read_text()
    (found,) = re.findall(r"```python\n(import json, duckdb.*?)```", text, re.DOTALL)
    return found.replace("JOB", "job")


@pytest.fixture
def local(job: MemoryJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The results bucket as files."""
    for key, data in job.store.buckets["results"].items():
        path = tmp_path / "results" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    monkeypatch.chdir(tmp_path / "results")
    return tmp_path / "results"


def test_the_query_in_the_readme_reads_the_same(job: MemoryJob, local: Path) -> None:
    names: dict[str, Any] = {}
    exec(readme_code(), names)
    found: list[dict[str, Any]] = names["rows"].to_arrow_table().to_pylist()
    by_key = [sorted(rows, key=lambda row: str(row["key"])) for rows in (found, merged(job))]
    assert by_key[0] == by_key[1]
    assert duckdb.sql("select count(*) from 'job/rows/*.parquet'").fetchall() == [(16,)]


def test_pandas_reads_the_same(job: MemoryJob, local: Path) -> None:
    retries = json.loads(Path("job/manifest.json").read_text())["retries"]
    jobs = ["job", *(retry["job_id"] for retry in retries)]
    frame = pandas.concat(pandas.read_parquet(f"{job}/rows") for job in jobs)
    newest = frame.drop_duplicates(["key", "frame"], keep="last")
    assert sorted(newest["key"]) == sorted(row["key"] for row in merged(job))
    assert set(newest["job_id"]) == {"job", "9-retry", "8-retry"}
    assert (newest["status"] == "failed").sum() == 1
