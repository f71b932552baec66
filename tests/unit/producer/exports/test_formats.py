"""Rows in each format, and errors counted by code."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from producer.exports.error_summary import error_summary
from producer.exports.writing import write_file, write_rows
from producer.job_rows import iter_rows, schema_of
from shared.errors import ITEM_ERROR_ADVICE, ItemErrorCode
from shared.item import Item
from tests.support import samples
from tests.support.job_in_memory import MemoryJob


@pytest.fixture
def job() -> MemoryJob:
    return ended(8)


def ended(chunks: Any, **options: Any) -> MemoryJob:
    job = MemoryJob(chunks, **options)
    job.seal()
    job.finish_all()
    job.collector().once()
    return job


def ended_catalogue() -> MemoryJob:
    """A job of the long form, with an answer of each kind, of which one image in six failed."""
    return ended(3, pipeline=samples.catalogue(), answer=samples.CATALOGUE_ANSWER)


def tables_of(job: MemoryJob) -> list[pa.Table]:
    return list(iter_rows(lambda _bucket: job.store, job.jobs, job.spec))


def rows_of(job: MemoryJob) -> list[dict[str, Any]]:
    return [row for table in tables_of(job) for row in table.to_pylist()]


def keys_of(job: MemoryJob) -> list[str]:
    return [item.key for items in job.chunks for item in items]


def test_errors_are_counted_with_an_example_and_advice(job: MemoryJob) -> None:
    (only,) = error_summary(tables_of(job))
    assert (only.code, only.count) == ("corrupt", 3)
    assert (only.example_key, only.example_message) == (keys_of(job)[4], "It is damaged.")
    assert only.advice == ITEM_ERROR_ADVICE[ItemErrorCode.CORRUPT]


def test_an_error_of_a_newer_version_has_no_advice_here(job: MemoryJob) -> None:
    table = pa.concat_tables(tables_of(job))
    index = table.schema.get_field_index("error_code")
    table = table.set_column(index, "error_code", pa.array(["later"] * table.num_rows))
    (only,) = error_summary([table])
    assert (only.code, only.count, only.advice) == ("later", 3, "")


def write(job: MemoryJob, form: Any) -> io.BytesIO:
    file = io.BytesIO()
    count = sum(map(len, job.chunks))
    assert write_rows(tables_of(job), schema_of(job.spec), form, file) == count
    return io.BytesIO(file.getvalue())


def test_parquet_holds_the_rows_as_they_are(job: MemoryJob) -> None:
    assert pq.read_table(write(job, "parquet")).to_pylist() == rows_of(job)


def test_jsonl_holds_the_rows_as_they_are(job: MemoryJob) -> None:
    lines = write(job, "jsonl").read().decode().splitlines()
    assert [json.loads(line) for line in lines] == with_iso_times(rows_of(job))


def with_iso_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "scored_at": row["scored_at"] and "1970-01-01T00:16:40.000Z"} for row in rows]


def test_csv_has_predictions_as_json_text(job: MemoryJob) -> None:
    rows = list(csv.DictReader(io.StringIO(write(job, "csv").read().decode())))
    expected = with_iso_times(rows_of(job))
    assert list(rows[0]) == schema_of(job.spec).names
    assert [row["key"] for row in rows] == keys_of(job)
    for row, want in zip(rows, expected, strict=True):
        assert json.loads(row["predictions"]) == want["predictions"]
        for name in ("error_code", "scored_at", "uri", "name"):
            assert row[name] == (want[name] or "")


def test_odd_keys_survive_every_format(tmp_path: Path) -> None:
    odd = ['a,"b"\nc.jpg', "d;é💧 .jpg", "-=1+1.jpg", "e" * 1024]
    job = ended([tuple(Item(key=key, etag="e1", size=1) for key in odd)])
    tables, schema = tables_of(job), schema_of(job.spec)
    path = tmp_path / "rows.csv"
    assert write_file(tables, schema, "csv", path) == 4
    with path.open(newline="") as file:
        assert [row["key"] for row in csv.DictReader(file)] == odd
    assert write_file(tables, schema, "jsonl", tmp_path / "rows.jsonl") == 4
    lines = (tmp_path / "rows.jsonl").read_text().split("\n")[:-1]
    assert [json.loads(line)["key"] for line in lines] == odd


def test_a_column_for_each_analysis_survives_every_format() -> None:
    job = ended_catalogue()
    expected = rows_of(job)
    assert [row["status"] for row in expected] == ["ok"] * 4 + ["failed"] + ["ok"]
    assert pq.read_table(write(job, "parquet")).to_pylist() == expected
    lines = [json.loads(line) for line in write(job, "jsonl").read().decode().splitlines()]
    assert lines == with_iso_times(expected)
    rows = list(csv.DictReader(io.StringIO(write(job, "csv").read().decode())))
    for row, want in zip(rows, expected, strict=True):
        for name in ("kinds", "embedding", "colours", "extra", "models"):
            assert (json.loads(row[name]) if row[name] else None) == want[name]


def test_vectors_are_written_without_dictionaries_and_statistics() -> None:
    file = pq.ParquetFile(write(ended_catalogue(), "parquet"))
    group = file.metadata.row_group(0)
    columns = {
        column.path_in_schema: column for column in map(group.column, range(group.num_columns))
    }
    vector, label = (
        columns["embedding.list.element"],
        columns["kinds.predictions.list.element.label"],
    )
    assert not vector.has_dictionary_page
    assert not vector.is_stats_set
    assert label.has_dictionary_page
    assert label.is_stats_set
