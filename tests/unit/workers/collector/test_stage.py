"""A result becomes a chunk file, once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from shared import keys, patience
from shared.errors import PermanentError
from shared.rows import table_of
from shared.storage import StoreUnavailable
from tests.support.job_in_memory import MemoryJob
from workers.collector.chunk_file import ChunkFiles
from workers.collector.stage import CollectStage
from workers.runtime import Done, GiveBack


@pytest.fixture
def job() -> MemoryJob:
    return MemoryJob(3, chunk_items=5)


def read(job: MemoryJob, chunk: int) -> Any:
    return ChunkFiles(job.store, "state").read(job.spec, chunk)


def count_gets(job: MemoryJob) -> list[str]:
    """The keys that are fetched from now on."""
    gets: list[str] = []
    request = job.store.request

    def counting(name: str, key: str, action: Callable[[], Any]) -> Any:
        if name == "get":
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
    assert (file.footer.engine, file.footer.device) == ("onnxruntime", "cpu")
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
    chunk_bytes = table_of(job.result(0)).nbytes
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


def test_a_file_that_nobody_of_us_wrote_is_an_error(job: MemoryJob) -> None:
    key = keys.chunk_key("job", 0)
    job.store.put("state", key, b"PAR1 it is not")
    with pytest.raises(PermanentError, match="cannot be read"):
        read(job, 0)
    job.store.delete("state", key)
    ChunkFiles(job.store, "state").write(job.result(0, job_uid="3" * 16))
    with pytest.raises(PermanentError, match="another job"):
        read(job, 0)
