"""Chunk files become parts while the job runs, each row once."""

from __future__ import annotations

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow.parquet as pq
import pytest

from shared import keys
from shared.pipeline import Pipeline
from tests.support import samples
from tests.support.job_in_memory import Died, MemoryJob
from workers.collector import part_writer, rollup
from workers.collector.chunk_file import ChunkFiles
from workers.collector.rollup import RollUp


@pytest.fixture
def job() -> MemoryJob:
    return MemoryJob(8)


def footer(data: bytes) -> dict[str, object]:
    raw = pq.read_metadata(io.BytesIO(data)).metadata
    return {
        name.decode().removeprefix("headrace."): json.loads(value)
        for name, value in raw.items()
        if name.startswith(b"headrace.")
    }


def test_a_part_is_written_when_its_range_is_complete(job: MemoryJob) -> None:
    collector = job.collector()
    for chunk, parts in ((1, 0), (0, 1), (2, 2), (4, 2), (3, 2), (6, 2), (5, 3), (7, 3)):
        job.finish(chunk)
        collector.once()
        assert sorted(job.output()) == [f"rows/part-{n:05}.parquet" for n in range(parts)]
    job.seal()  # only now is it known that chunk 7 is the last
    collector.once()
    assert job.rows() == job.images
    assert len(job.output("rows/")) == 4


def test_parts_keep_the_order_of_the_manifest(job: MemoryJob) -> None:
    job.seal()
    job.finish(*reversed(range(8)))
    job.collector().once()
    data = job.output()["rows/part-00002.parquet"]
    read = pq.read_table(io.BytesIO(data))["key"].to_pylist()
    assert read == [item.key for items in job.chunks[3:7] for item in items]


def test_a_part_says_what_it_holds(job: MemoryJob) -> None:
    job.seal()
    job.finish_all()
    job.collector().once()
    said = footer(job.output()["rows/part-00001.parquet"])
    assert (said["first_chunk"], said["end_chunk"], said["chunks"]) == (1, 3, 2)
    assert (said["rows"], said["succeeded"], said["failed"]) == (4, 3, 1)
    assert said["input_bytes"] == 102 + 103 + 104 + 105
    engine = {"engine": "onnxruntime", "precision": "float32", "device": "cpu", "images": 3}
    assert said["engines"] == [engine]
    durations = said["durations"]
    assert isinstance(durations, dict)
    assert durations["fetch_seconds"] == pytest.approx(0.2)
    assert (durations["device_started_at"], durations["device_ended_at"]) == (1001.0, 1002.5)
    runs = said["device_runs"]
    assert isinstance(runs, list)
    assert [start for start, _, _ in runs] == [1001.0, 1002.0]
    assert sum(seconds for _, _, seconds in runs) == pytest.approx(durations["device_seconds"])


def test_a_part_of_many_row_groups_says_and_holds_the_same(
    job: MemoryJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.seal()
    job.finish_all()
    job.collector().once()
    whole = job.output("rows/")
    again = MemoryJob(8)
    again.seal()
    again.finish_all()
    monkeypatch.setattr(part_writer, "ROW_GROUP_BYTES", 1)
    monkeypatch.setattr(rollup, "READ_AHEAD", 2)
    again.collector().once()
    groups = again.output("rows/")
    assert groups.keys() == whole.keys()
    for name, data in groups.items():
        assert footer(data) == footer(whole[name])
        table, before = (pq.read_table(io.BytesIO(file)) for file in (data, whole[name]))
        assert table.equals(before)
        file = pq.ParquetFile(io.BytesIO(data))
        assert file.num_row_groups == footer(data)["chunks"]
        assert file.read_row_group(0).equals(before.slice(0, 2))
        assert pq.ParquetFile(io.BytesIO(whole[name])).num_row_groups == 1


def test_few_chunk_files_are_read_before_their_turn(
    job: MemoryJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup, "READ_AHEAD", 2)
    job.finish_all()
    read: list[int] = []
    monkeypatch.setattr(ChunkFiles, "read", lambda _files, _spec, chunk: read.append(chunk))
    with ThreadPoolExecutor(2) as readers:
        files = ChunkFiles(job.store, "state")
        found = RollUp(job.spec, files, job.store, readers)._files_of(range(8))
        next(found)
    assert sorted(read) == [0, 1]


def test_a_missing_chunk_file_is_computed_again(job: MemoryJob) -> None:
    job.seal()
    job.finish_all()
    job.store.delete("state", keys.chunk_key("job", 5))
    collector = job.collector()
    collector.once()
    assert job.ledger.reopened == [5]
    assert len(job.output("rows/")) == 2
    collector.once()
    assert job.ledger.reopened == [5]
    job.finish(5)
    collector.once()
    assert job.closing().state == "succeeded"
    assert job.rows() == job.images


def test_files_that_another_collector_has_cleared_away_are_not_missing(
    job: MemoryJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One looks for a part; the other closes the job and dies; then the first goes on."""
    job.seal()
    job.finish_all()

    def die(*_: object) -> None:
        raise Died

    def close_meanwhile(_step: int) -> None:
        job.store.at_step = lambda _step: None
        with monkeypatch.context() as patch:
            patch.setattr(job.ledger, "close_job", die)
            with pytest.raises(Died):
                job.collector().once()

    def wait_for_a_chunk_file(step: int) -> None:
        if threading.current_thread().name.startswith("roll-up"):
            close_meanwhile(step)

    job.store.at_step = wait_for_a_chunk_file
    job.collector().once()
    assert job.ledger.reopened == []
    assert job.ledger.jobs() == []
    assert job.rows() == job.images


def test_a_chunk_file_that_is_not_of_its_manifest_fails_the_job(job: MemoryJob) -> None:
    job.seal()
    job.finish_all()
    state = job.store.buckets["state"]
    manifest = {key: data for key, data in state.items() if "/manifest/" in key}
    job.store.delete("state", keys.chunk_key("job", 2))
    shorter = [*job.chunks[:2], job.chunks[2][:1], *job.chunks[3:]]
    MemoryJob(shorter, store=job.store).finish(2)
    state.update(manifest)
    job.collector().once()
    assert job.closing().state == "failed"
    assert "is not of its manifest" in (job.closing().error or "")
    assert list(job.output()) == ["rows/part-00000.parquet"]
    assert len(job.chunk_files()) == 8
    assert job.ledger.jobs() == []


@pytest.mark.parametrize(
    ("pipeline", "most"),
    [
        (samples.pipeline(), 512),
        (samples.pipeline(postprocess={"top_k": 100}), 64),
        (samples.catalogue(), 64),
        (samples.vectors(length=1280), 128),
        (samples.vectors(length=8192), 32),
    ],
)
def test_parts_follow_each_other_and_have_fewer_chunks_of_long_answers(
    pipeline: Pipeline, most: int
) -> None:
    spec = MemoryJob(1, pipeline=pipeline).spec
    ranges = [keys.part_range(spec, part) for part in range(14)]
    assert [first for first, _ in ranges] == [0, *(end for _, end in ranges[:-1])]
    assert [end - first for first, end in ranges] == [min(2**part, most) for part in range(14)]
