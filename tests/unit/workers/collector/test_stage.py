"""A result becomes a chunk file, once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from shared import keys, patience
from shared.errors import PermanentError
from shared.item import Item
from shared.manifest import Segment, encode_segment
from shared.parquet import encode
from shared.storage import StoreUnavailable
from tests.support import samples
from tests.support.job_in_memory import MemoryJob
from workers.collector.chunk_file import ChunkFiles
from workers.collector.stage import CollectStage
from workers.runtime import Done, GiveBack, Refuse


@pytest.fixture
def job() -> MemoryJob:
    return MemoryJob(3, chunk_items=5)


def read(job: MemoryJob, chunk: int) -> Any:
    return ChunkFiles(job.store, "state").read(job.spec, chunk)


def count_gets(job: MemoryJob) -> list[str]:
    """The keys of chunk files that are fetched from now on."""
    gets: list[str] = []
    request = job.store.request

    def counting(name: str, key: str, action: Callable[[], Any]) -> Any:
        if name == "get" and "/chunks/" in key:
            gets.append(key)
        return request(name, key, action)

    job.store.request = counting  # type: ignore[method-assign]
    return gets


def stage(job: MemoryJob, stopping: threading.Event | None = None) -> CollectStage:
    return CollectStage(ChunkFiles(job.store, "state"), stopping or threading.Event())


def test_rows_and_footer_come_back_as_they_were(job: MemoryJob) -> None:
    result = job.result(1)
    assert stage(job)(result) == Done(
        {"chunks": 1, "succeeded": 4, "failed": 1, "device_seconds": 0.5}
    )
    file = read(job, 1)
    assert file.rows["key"].to_pylist() == [item.key for item in job.chunks[1]]
    assert file.rows["status"].to_pylist() == ["ok"] * 4 + ["failed"]
    assert (file.footer.chunk, file.footer.items, file.footer.failed) == (1, 5, 1)
    assert file.footer.computed == result.computed
    assert file.footer.timings == result.timings
    assert read(job, 2) is None


def test_the_first_writer_wins(job: MemoryJob) -> None:
    ChunkFiles(job.store, "state").write(job.result(0))
    first = read(job, 0)
    assert isinstance(stage(job)(job.result(0, engine="torch", attempt=2)), Done)
    assert read(job, 0) == first


def test_what_was_written_lately_is_not_fetched(job: MemoryJob) -> None:
    files, others = (ChunkFiles(job.store, "state") for _ in range(2))
    files.write(job.result(0))
    others.write(job.result(0, engine="torch"))  # is not the one that stands
    fetched = read(job, 0)
    gets = count_gets(job)
    mine = files.read(job.spec, 0)
    assert mine is not None
    assert (mine.rows, mine.footer) == (fetched.rows, fetched.footer)
    assert gets == []
    assert others.read(job.spec, 0) == fetched
    assert files.read(job.spec, 0) == fetched  # remembered once
    assert len(gets) == 2


def test_so_much_is_remembered_and_no_more(job: MemoryJob) -> None:
    chunk_bytes = job.result(0).answers.nbytes
    files = ChunkFiles(job.store, "state", memory_bytes=2 * chunk_bytes + chunk_bytes // 2)
    for chunk in range(3):
        files.write(job.result(chunk))
    gets = count_gets(job)
    assert all(files.read(job.spec, chunk) for chunk in (0, 1, 2))
    assert len(gets) == 1


def test_an_outage_is_waited_out(job: MemoryJob) -> None:
    def fail_twice(step: int) -> None:
        if step < 2:
            raise StoreUnavailable("store_unavailable", "It does not answer.")

    job.store.at_step = fail_twice
    assert isinstance(stage(job)(job.result(0)), Done)
    assert read(job, 0) is not None


def test_a_worker_that_stops_in_an_outage_gives_back(
    job: MemoryJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(step: int) -> None:
        raise StoreUnavailable("store_unavailable", "It does not answer.")

    monkeypatch.setattr(patience, "_STOPPING_GRACE_SECONDS", 0.0)
    job.store.at_step = fail
    stopping = threading.Event()
    stopping.set()
    assert stage(job, stopping)(job.result(0)) == GiveBack()


def no_manifest(job: MemoryJob) -> None:
    job.store.delete("state", keys.segment_key("job", 0))


def garbage(job: MemoryJob) -> None:
    job.store.put("state", keys.segment_key("job", 0), b"PAR1 it is not")


def other_columns(job: MemoryJob) -> None:
    job.store.put("state", keys.segment_key("job", 0), encode(pa.table({"key": ["a"]})))


def one_more_item(job: MemoryJob) -> None:
    chunk = (*job.chunks[0], Item(key="one more", etag="e", size=1))
    job.store.put("state", keys.segment_key("job", 0), encode_segment(Segment(0, (chunk,))))


def first_chunk_later(job: MemoryJob) -> None:
    data = encode_segment(Segment(7, (job.chunks[0],)))
    job.store.put("state", keys.segment_key("job", 0), data)


@pytest.mark.parametrize(
    "spoil", [no_manifest, garbage, other_columns, one_more_item, first_chunk_later]
)
def test_a_result_that_is_not_about_what_is_listed_is_refused(
    job: MemoryJob, spoil: Callable[[MemoryJob], None], caplog: pytest.LogCaptureFixture
) -> None:
    spoil(job)
    assert stage(job)(job.result(0)) == Refuse()
    assert job.chunk_files() == []
    assert len(caplog.records) == 1
    assert "\n" not in caplog.text.strip()


def no_spec(job: MemoryJob) -> None:
    job.store.delete("state", keys.spec_key("job"))


def damaged_spec(job: MemoryJob) -> None:
    job.store.put("state", keys.spec_key("job"), b"{it is not")


@pytest.mark.parametrize("spoil", [no_spec, damaged_spec])
def test_a_result_of_a_job_without_a_spec_is_refused(
    job: MemoryJob, spoil: Callable[[MemoryJob], None]
) -> None:
    spoil(job)
    assert stage(job)(job.result(0)) == Refuse()
    assert job.chunk_files() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"postprocess": {"top_k": 3}},
        {"name": "other"},
        {"preprocess": {"crop_pixels": 96}},
        {"model": samples.MODEL.model_copy(update={"sha256": "f" * 64})},
        {"batch_seconds": 7.0},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_result_by_another_pipeline_than_the_jobs_is_refused(
    job: MemoryJob, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    other = samples.pipeline(**changes)
    assert stage(job)(job.result(0, pipeline=other)) == Refuse()
    assert job.chunk_files() == []
    assert "pipeline" in caplog.text


def test_the_spec_is_read_once_a_job(job: MemoryJob, monkeypatch: pytest.MonkeyPatch) -> None:
    gets: list[str] = []
    get = job.store.get

    def counting(bucket: str, key: str) -> bytes:
        gets.append(key)
        return get(bucket, key)

    monkeypatch.setattr(job.store, "get", counting)
    files = ChunkFiles(job.store, "state")
    for chunk in range(3):
        files.write(job.result(chunk))
    assert gets.count(keys.spec_key("job")) == 1


def test_a_job_of_the_same_name_has_a_manifest_of_its_own() -> None:
    first = MemoryJob(2, chunk_items=5)
    files = ChunkFiles(first.store, "state")
    files.write(first.result(0))
    first.store.delete("state", keys.chunk_key("job", 0))
    second = MemoryJob(2, chunk_items=3, store=first.store, job_uid="3" * 16)
    assert files.write(second.result(0)).items == 3


def test_a_file_that_nobody_of_us_wrote_is_an_error(job: MemoryJob) -> None:
    key = keys.chunk_key("job", 0)
    ChunkFiles(job.store, "state").write(job.result(0))
    whole = job.store.buckets["state"][key]
    for spoilt in (b"", b"PAR1 it is not", whole[:200], whole[:-200], b"{}\n", b"[]" + whole):
        job.store.put("state", key, spoilt)
        with pytest.raises(PermanentError, match="cannot be read"):
            read(job, 0)
    job.store.delete("state", key)
    ChunkFiles(job.store, "state").write(job.result(0, job_uid="3" * 16))
    with pytest.raises(PermanentError, match="another job"):
        read(job, 0)
