"""A result becomes a chunk file, once."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from shared import keys, patience
from shared.errors import PermanentError
from shared.storage import StoreUnavailable
from tests.job_in_memory import MemoryJob
from workers.collector.chunk_file import read_chunk_file, write_chunk_file
from workers.collector.stage import CollectStage
from workers.runtime import Done, GiveBack


@pytest.fixture
def job() -> MemoryJob:
    return MemoryJob(3, chunk_items=5)


def read(job: MemoryJob, chunk: int) -> Any:
    return read_chunk_file(job.store, "state", job.spec, chunk)


def stage(job: MemoryJob, stopping: threading.Event | None = None) -> CollectStage:
    return CollectStage(job.store, "state", stopping or threading.Event())


def test_rows_and_footer_come_back_as_they_were(job: MemoryJob) -> None:
    result = job.result(1)
    assert stage(job)(result) == Done({"succeeded": 4, "failed": 1, "device_seconds": 0.5})
    file = read(job, 1)
    assert file.rows["key"].to_pylist() == [item.key for item in job.chunks[1]]
    assert file.rows["status"].to_pylist() == ["ok"] * 4 + ["failed"]
    assert (file.footer.chunk, file.footer.items, file.footer.failed) == (1, 5, 1)
    assert (file.footer.engine, file.footer.device) == ("onnxruntime", "cpu")
    assert file.footer.timings == result.timings
    assert read(job, 2) is None


def test_the_first_writer_wins(job: MemoryJob) -> None:
    write_chunk_file(job.store, "state", job.result(0))
    first = read(job, 0)
    assert isinstance(stage(job)(job.result(0, engine="torch", attempt=2)), Done)
    assert read(job, 0) == first


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
    write_chunk_file(job.store, "state", job.result(0, job_uid="3" * 16))
    with pytest.raises(PermanentError, match="another job"):
        read(job, 0)
