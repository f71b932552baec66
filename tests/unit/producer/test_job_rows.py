"""Reading rows back: by others' tools from a glob, and by us with the newest row of each item."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from producer.exports.formats import FORMATS
from producer.exports.writing import write_rows
from producer.job_rows import first_rows, iter_rows, schema_of
from shared import keys
from shared.item import Item
from shared.job import PastJob, read_spec
from shared.rows import from_parquet, rows_schema
from shared.rows import to_parquet as rows_to_parquet
from tests.support import samples
from tests.support.job_in_memory import MemoryJob
from tests.support.row_files import to_parquet

CHUNKS = 8


@pytest.fixture
def job() -> MemoryJob:
    return ended(MemoryJob(CHUNKS))


def ended(job: MemoryJob) -> MemoryJob:
    job.seal()
    job.finish_all()
    job.collector().once()
    return job


def read(job: MemoryJob, *, limit: int | None = None, **options: Any) -> list[dict[str, Any]]:
    tables = iter_rows(lambda _bucket: job.store, job.jobs, job.spec, **options)
    tables = first_rows(tables, limit)
    return [row for table in tables for row in table.to_pylist()]


def test_rows_of_a_job_of_another_version_stay_readable(job: MemoryJob) -> None:
    later = ["warning", "uri", "name", "class_index", "scored_at"]
    before = [{**row, **dict.fromkeys(later)} for row in read(job)]
    for name, data in job.output("rows/").items():
        table, metadata = from_parquet(data)
        key = f"{keys.output_root(job.spec)}{name}"
        job.store.put(job.spec.output_bucket, key, to_parquet(table.drop(later), metadata))
    spec = {**job.spec.model_dump(mode="json"), "version": 1}
    past = read_spec(job.spec.job_id, json.dumps(spec).encode())
    assert isinstance(past, PastJob)
    tables = list(iter_rows(lambda _bucket: job.store, job.jobs, past))
    assert [row for table in tables for row in table.to_pylist()] == before
    for form in FORMATS:
        assert write_rows(tables, schema_of(past), form, io.BytesIO()) == len(before)


def listed(job: MemoryJob) -> list[str]:
    return [item.key for items in job.chunks for item in items]


def failed_items(job: MemoryJob) -> list[Item]:
    found = read(job, status="failed")
    return [Item(key=row["key"], etag=row["etag"], size=row["size"]) for row in found]


def retried(job: MemoryJob, job_id: str, items: list[Item], fixed: set[str]) -> MemoryJob:
    """A retry of ``items`` in which those whose key is in ``fixed`` succeed."""
    retry = MemoryJob(
        [tuple(items)], store=job.store, job_id=job_id, job_uid="6" * 16, retry_of=job.spec.job_id
    )
    job.jobs.add_retry(job.spec.job_id, job_id)
    good = {"classes": samples.prediction("dog")}
    retry.finish(0, rows=[good if item.key in fixed else retry.row_of(item) for item in items])
    retry.seal()
    retry.collector().once()
    return retry


def test_every_reader_of_a_glob_sees_the_same_rows(job: MemoryJob, tmp_path: Path) -> None:
    for name, data in job.output("rows/").items():
        (tmp_path / Path(name).name).write_bytes(data)
    expected = sorted(listed(job))
    glob = f"{tmp_path}/*.parquet"
    by_duckdb = duckdb.sql(f"select key, label, predictions[1].label from '{glob}' order by key")
    rows = by_duckdb.fetchall()
    assert [row[0] for row in rows] == expected
    assert all(label == first for _, label, first in rows)
    frame = pandas.read_parquet(tmp_path)
    assert sorted(frame["key"]) == expected
    table = pyarrow.dataset.dataset(tmp_path).to_table()
    assert sorted(table["key"].to_pylist()) == expected
    assert table.schema.remove_metadata().equals(rows_schema(job.spec.pipeline))


def test_rows_come_in_the_order_of_the_manifest_whatever_the_stores(
    job: MemoryJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = job.store.list

    def backwards(bucket: str, prefix: str = "") -> Iterator[Any]:
        return reversed(list(whole(bucket, prefix)))

    monkeypatch.setattr(job.store, "list", backwards)
    assert [row["key"] for row in read(job)] == listed(job)


def test_a_running_job_shows_the_parts_that_stand() -> None:
    job = MemoryJob(CHUNKS)
    job.finish(0, 1, 2, 5)
    assert read(job) == []
    job.collector().once()
    assert [row["key"] for row in read(job)] == listed(job)[:6]


@pytest.mark.parametrize("limit", [0, 1, 5, 6, 16, 99])
def test_limit_counts_rows_after_the_filter(job: MemoryJob, limit: int) -> None:
    assert len(read(job, limit=limit)) == min(limit, 16)
    assert [r["status"] for r in read(job, limit=limit, status="failed")] == ["failed"] * min(
        limit, 3
    )


def test_limit_reads_no_more_parts_than_it_needs(job: MemoryJob) -> None:
    fetched: list[str] = []
    get = job.store.get_object

    def noting(bucket: str, key: str, **options: Any) -> Any:
        fetched.append(key)
        return get(bucket, key, **options)

    job.store.get_object = noting  # type: ignore[method-assign]
    read(job, limit=2)
    assert fetched == [keys.part_key(job.spec, 0)]


def test_one_row_group_of_a_part_is_held_at_a_time(job: MemoryJob) -> None:
    """A collector writes one for each chunk, however many of them a part has."""
    chunks, rows = 40, 25
    schema = rows_schema(job.spec.pipeline)
    row = {**read(job)[0], "label": "a long label " * 1000}
    group = pa.Table.from_pylist([row] * rows, schema=schema)
    data = rows_to_parquet([group] * chunks, schema, dict)
    for key in list(job.output("rows/")):
        job.store.delete("results", f"{keys.output_root(job.spec)}{key}")
    job.store.put("results", keys.part_key(job.spec, 0), data)
    before, most, sizes = pa.total_allocated_bytes(), 0, []
    for table in iter_rows(lambda _bucket: job.store, job.jobs, job.spec):
        sizes.append(table.num_rows)
        most = max(most, pa.total_allocated_bytes() - before)
    assert sizes == [rows] * chunks
    assert most < 5 * group.nbytes  # the last is held until the next is there


def test_a_retried_item_shows_its_newest_row_in_its_place(job: MemoryJob) -> None:
    before = read(job)
    failed = failed_items(job)
    retried(job, "retry", failed, {failed[1].key})
    after = read(job)
    assert [row["key"] for row in after] == listed(job)
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert [row["key"] for row in changed] == [item.key for item in failed]
    assert [row["status"] for row in changed] == ["failed", "ok", "failed"]
    assert {row["job_id"] for row in changed} == {"retry"}
    assert len(read(job, status="failed")) == 2


def test_of_retries_of_retries_the_last_row_wins(job: MemoryJob) -> None:
    failed = failed_items(job)
    first = retried(job, "z-first", failed, {failed[0].key})
    second = retried(first, "a-second", failed[1:], {failed[2].key})
    job.jobs.add_retry("job", "never-written")
    assert [spec.job_id for spec in job.jobs.all_retries("job")] == ["z-first", "a-second"]
    states = {row["key"]: (row["job_id"], row["status"]) for row in read(job)}
    assert states[failed[0].key] == ("z-first", "ok")
    assert states[failed[1].key] == ("a-second", "failed")
    assert states[failed[2].key] == ("a-second", "ok")
    assert [row["status"] for row in read(second)] == ["failed", "ok"]


def test_a_footer_keeps_our_names_apart() -> None:
    data = to_parquet(pa.table({"key": ["a"]}), {"chunk": "0"})
    assert pq.read_metadata(io.BytesIO(data)).metadata[b"headrace.chunk"] == b"0"
