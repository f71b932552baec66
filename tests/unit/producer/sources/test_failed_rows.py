"""What a retry works on: what still fails in the whole family of jobs, as it is now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from producer.sources.failed_rows import FailedRows
from shared.item import Item
from shared.job import JobSpec
from shared.job_store import JobStore
from shared.keys import part_key
from shared.rows import rows_schema
from tests.support import samples
from tests.support.memory_store import MemoryStore
from tests.support.row_files import to_parquet

START = datetime(2026, 1, 1, tzinfo=UTC)


class Family:
    """Jobs that retry each other, in a store in memory."""

    def __init__(self) -> None:
        self.store = MemoryStore("state", "input", "results")
        self.jobs = JobStore(self.store, "state")
        self.count = 0

    def add(self, job_id: str, retry_of: str | None = None, **rows: str) -> JobSpec:
        """A job with rows by key: ``ok`` or ``failed``."""
        self.count += 1
        spec = JobSpec(
            job_id=job_id,
            created_at=START + timedelta(hours=self.count),
            retry_of=retry_of,
            bucket="input",
            output_bucket="results",
            pipeline=samples.pipeline(),
            pipeline_sha256="",
            headrace_version="0",
        )
        if retry_of:
            self.jobs.add_retry(retry_of, job_id)
        self.jobs.create_spec(spec)
        for part, (key, status) in enumerate(rows.items()):
            row = {
                "job_id": job_id,
                "key": key,
                "uri": f"s3://input/{key}",
                "name": key,
                "etag": "then",
                "size": 9,
                "status": status,
                "pipeline": "p",
                "model": "m",
                "model_version": "v",
                "predictions": [],
            }
            data = to_parquet(pa.Table.from_pylist([row], schema=rows_schema(spec.pipeline)), {})
            self.store.put("results", part_key(spec, part), data)
        return spec

    def failed(self, spec: JobSpec) -> list[Item]:
        return list(FailedRows(lambda _: self.store, self.jobs, spec))


def test_the_failed_rows_of_the_parent_as_they_are_now() -> None:
    family = Family()
    family.store.put("input", "a", b"new")
    family.add("job", a="failed", b="ok", c="failed")
    now = family.store.head("input", "a")
    assert family.failed(family.add("again", "job")) == [
        Item(key="a", etag=now.etag, size=3),
        Item(key="c", etag="then", size=9),  # deleted: it is to fail as missing
    ]


def test_what_an_earlier_retry_has_corrected_is_left_out() -> None:
    family = Family()
    family.add("job", a="failed", b="failed", c="ok")
    family.add("one", "job", a="ok", b="failed")
    for parent in ("one", "job"):
        spec = family.add(f"after-{parent}", parent)
        assert [item.key for item in family.failed(spec)] == ["b"]


def test_what_a_cancelled_retry_never_came_to_is_retried() -> None:
    family = Family()
    family.add("job", a="failed", b="failed")
    family.add("one", "job", a="ok")
    assert [item.key for item in family.failed(family.add("two", "one"))] == ["b"]


def test_removed_ancestors_are_no_obstacle() -> None:
    family = Family()
    family.add("job", a="failed", b="failed")
    family.add("one", "job", a="failed")
    family.store.delete("state", "jobs/job/spec.json")
    assert [item.key for item in family.failed(family.add("two", "one"))] == ["a"]
