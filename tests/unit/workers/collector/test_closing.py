"""The end of a job: what it says, and what keeps it from closing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared import keys
from shared.errors import HeadraceError, ItemErrorCode
from shared.item import ItemFailure
from shared.job import Accounting, Closing, JobStop
from shared.storage import AccessDenied, StoreUnavailable
from tests.support import samples
from tests.support.job_in_memory import MemoryJob

FOLDER = ["_SUCCESS", "manifest.json", *(f"rows/part-{n:05}.parquet" for n in range(4))]


@pytest.fixture
def job() -> MemoryJob:
    return MemoryJob(8)


def manifest(job: MemoryJob) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(job.output()["manifest.json"])
    return parsed


def test_a_finished_job_is_closed_and_its_chunk_files_go(job: MemoryJob) -> None:
    job.seal()
    job.finish_all()
    job.collector().once()
    assert sorted(job.output()) == FOLDER
    closing = job.closing()
    assert closing.state == "succeeded"
    assert closing.accounting == Accounting(listed=16, succeeded=13, failed=3, skipped=1)
    assert (closing.engine, closing.precision, closing.device) == ("onnxruntime", "float32", "cpu")
    (used,) = closing.models
    assert (used.analysis, used.model, used.version) == ("classes", "tiny", "a" * 64)
    assert (used.engine, used.precision, used.device) == ("onnxruntime", "float32", "cpu")
    assert closing.device_busy == pytest.approx(4 / 7.5, abs=1e-4)
    assert job.chunk_files() == []
    assert job.ledger.jobs() == []


def test_the_manifest_tells_counts_times_and_versions(job: MemoryJob) -> None:
    job.seal()
    job.finish_all()
    job.collector().once()
    said = manifest(job)
    assert [part["rows"] for part in said["parts"]] == [2, 4, 8, 2]
    for part in said["parts"]:
        assert part["size_bytes"] == len(job.output()[part["name"]])
    assert said["accounting"]["listed"] == 16
    assert said["listed"] == {
        **{"chunks": len(job.chunks), "images": 16, "skipped": 1, "cancelled": False},
        "total_bytes": sum(item.size for chunk in job.chunks for item in chunk),
    }
    assert said["timings"]["fetch"] == {"seconds": 0.8, "milliseconds_per_image": 50.0}
    assert said["timings"]["device"]["seconds"] == 4.0
    assert said["versions"]["model_sha256"] == "a" * 64
    assert said["versions"]["headrace"] == "1.2.3"
    assert "pyarrow" in said["versions"]["libraries"]
    assert said["seconds"] >= 0


def test_what_others_rely_on_is_written_last(job: MemoryJob) -> None:
    """Parts before the manifest, that before ``_SUCCESS``; chunk files go when all is recorded."""
    job.seal()
    job.finish_all()
    job.store.written.clear()
    job.collector().once()
    assert job.store.written == [
        *(f"job/rows/part-{n:05}.parquet" for n in range(4)),
        "job/manifest.json",
        "job/_SUCCESS",
        keys.closed_key("job"),
        *(f"without {keys.chunk_key('job', chunk)}" for chunk in range(8)),
    ]


@pytest.mark.parametrize("missing", range(8))
def test_a_job_with_a_chunk_to_come_stays_open(job: MemoryJob, missing: int) -> None:
    job.seal()
    job.finish(*(chunk for chunk in range(8) if chunk != missing))
    job.collector().once()
    assert job.jobs.closing("job") is None
    assert "manifest.json" not in job.output()


def test_a_job_that_is_not_sealed_stays_open(job: MemoryJob) -> None:
    job.finish_all()
    job.collector().once()
    assert job.jobs.closing("job") is None


def test_nothing_listed_is_a_failure_without_parts() -> None:
    job = MemoryJob(0)
    job.seal()
    job.collector().once()
    assert sorted(job.output()) == ["manifest.json"]
    assert (job.closing().state, job.closing().reason) == ("failed", "no_success")
    assert job.closing().accounting == Accounting(skipped=1)
    assert job.closing().device_busy is None


@pytest.mark.parametrize("by_seal", [True, False])
def test_a_cancelled_job_counts_what_there_is(job: MemoryJob, by_seal: bool) -> None:
    job.seal(cancelled=by_seal)
    if not by_seal:
        job.jobs.cancel("job")
    job.finish(0, 3, 4)
    job.collector().once()
    closing = job.closing()
    assert closing.state == "cancelled"
    assert closing.accounting == Accounting(
        listed=16, succeeded=5, failed=1, cancelled=10, skipped=1
    )
    assert sorted(job.output()) == FOLDER[1:], "no marker that says complete"
    assert sum(job.rows().values()) == 6
    assert job.chunk_files() == []


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_job_that_a_worker_stopped_fails_with_its_reason_and_keeps_its_rows(
    job: MemoryJob, cancelled: bool
) -> None:
    """Also where its user had cancelled it, which is the lesser news."""
    job.seal(cancelled=True)
    if cancelled:
        job.jobs.cancel("job")
    job.jobs.stop("job", job.spec.job_uid, JobStop(error="the class is broken."))
    job.finish(0, 3, 4)
    job.collector().once()
    closing = job.closing()
    assert (closing.state, closing.reason) == ("failed", "not_closed")
    assert str(closing.error).startswith("the class is broken. Images not processed:")
    assert closing.accounting == Accounting(
        listed=16, succeeded=5, failed=1, cancelled=10, skipped=1
    )
    assert sorted(job.output()) == FOLDER[1:]
    assert sum(job.rows().values()) == 6


def test_a_stop_of_another_job_of_this_name_means_nothing(job: MemoryJob) -> None:
    job.jobs.stop("job", "f" * 16, JobStop(error="the class is broken"))
    job.seal()
    job.finish_all()
    job.collector().once()
    assert job.closing().state == "succeeded"


def test_a_file_that_comes_while_a_cancelled_job_closes_counts_wholly_or_not_at_all() -> None:
    job = MemoryJob(8)
    job.seal(cancelled=True)
    job.finish(0, 3)
    job.collector().once()
    for at in range(count_steps(job)):
        job = MemoryJob(8)
        job.seal(cancelled=True)
        job.finish(0, 3)
        late = {at: 6, at + 5: 2}

        def finish_late(step: int, job: MemoryJob = job, late: dict[int, int] = late) -> None:
            if step in late:
                chunk = late.pop(step)
                job.store.at_step, hook = lambda _step: None, job.store.at_step
                job.finish(chunk)
                job.store.at_step = hook

        job.store.begin()
        job.store.at_step = finish_late
        job.collector().once()
        counted = job.closing().accounting
        assert counted.adds_up
        assert sum(job.rows().values()) == counted.succeeded + counted.failed
        assert sum(part["rows"] for part in manifest(job)["parts"]) == sum(job.rows().values())


def count_steps(job: MemoryJob) -> int:
    steps = []
    job.store.at_step = steps.append
    job.store.step()
    return int(steps[0])


def test_an_accounting_that_does_not_add_up_is_no_success(job: MemoryJob) -> None:
    job.seal(listed=17)
    job.finish_all()
    job.collector().once()
    assert (job.closing().state, job.closing().reason) == ("failed", "not_closed")
    assert job.closing().error == "The parts have 16 rows for 17 listed images."
    assert "_SUCCESS" not in job.output()
    assert len(job.chunk_files()) == 8


def test_an_output_bucket_that_is_gone_fails_the_job_in_one_line(job: MemoryJob) -> None:
    del job.store.buckets["results"]
    job.finish(0)
    job.collector().once()
    closing = job.closing()
    assert (closing.state, closing.reason) == ("failed", "not_closed")
    assert "results" in (closing.error or "")
    assert "\n" not in (closing.error or "")
    assert job.ledger.jobs() == []


def refuse_writes(job: MemoryJob, error: HeadraceError) -> None:
    """From here on the output bucket refuses to be written."""
    create = job.store.create

    def refusing(bucket: str, key: str, data: bytes) -> bool:
        if bucket == "results":
            raise error
        return create(bucket, key, data)

    job.store.create = refusing  # type: ignore[method-assign]


def test_an_output_bucket_that_refuses_fails_the_job(job: MemoryJob) -> None:
    job.seal()
    job.finish_all()
    refuse_writes(job, AccessDenied("access_denied", "here refuses s3://results/job: denied."))
    job.collector().once()
    assert job.closing().state == "failed"
    assert job.closing().error == "here refuses s3://results/job: denied."
    assert job.closing().accounting.listed == 16
    assert len(job.chunk_files()) == 8


def test_an_outage_is_no_failure(job: MemoryJob) -> None:
    job.seal()
    job.finish_all()
    collector = job.collector()
    for at in range(1, 60, 3):

        def fail(step: int, at: int = at) -> None:
            if step >= at:
                raise StoreUnavailable("store_unavailable", "It does not answer.")

        job.store.begin()
        job.store.at_step = fail
        collector.once()
    job.store.at_step = lambda _step: None
    collector.once()
    assert job.closing().state == "succeeded"
    assert job.rows() == job.images


@pytest.mark.parametrize("name", ["manifest.json", "rows/part-00001.parquet"])
def test_the_folder_of_another_job_is_left_alone(job: MemoryJob, name: str) -> None:
    other = MemoryJob(8, job_uid="5" * 16)
    other.seal()
    other.finish_all()
    other.collector().once()
    planted = other.output()[name]
    job.store.put("results", keys.output_root(job.spec) + name, planted)
    job.seal()
    job.finish_all()
    job.collector().once()
    assert job.closing().state == "failed"
    assert "another job of this name" in (job.closing().error or "")
    assert job.output()[name] == planted


def test_a_job_that_failed_before_is_only_forgotten(job: MemoryJob) -> None:
    job.jobs.create_closing("job", Closing(state="failed", accounting=Accounting(), error="no"))
    job.seal()
    job.finish_all()
    job.collector().once()
    assert job.output() == {}
    assert job.ledger.jobs() == []


def test_a_job_that_was_removed_is_forgotten(job: MemoryJob) -> None:
    job.store.delete("state", keys.spec_key("job"))
    job.collector().once()
    assert job.ledger.jobs() == []


def test_a_busy_job_is_asked_for_little_but_is_closed_in_the_end(job: MemoryJob) -> None:
    """While chunks are on their way, the bucket is not asked again and again for the end."""
    job.seal()
    job.ledger.live[job.spec.job_uid] = 3
    collector = job.collector()
    collector.once()
    steps: list[int] = []
    job.store.at_step = steps.append
    collector.once()
    assert steps == []
    job.finish_all()
    job.ledger.live[job.spec.job_uid] = 0
    collector.once()
    assert job.closing().state == "succeeded"


def test_a_job_that_cannot_be_read_does_not_hold_up_the_others(job: MemoryJob) -> None:
    job.store.put("state", keys.spec_key("broken"), b"{}")
    job.ledger.register_job("0" * 16, "broken")
    job.seal()
    job.finish_all()
    collector = job.collector()
    collector.once()
    collector.once()
    assert job.closing().state == "succeeded"
    assert job.ledger.jobs() == ["0" * 16]


def test_a_catalogue_says_for_each_analysis_what_computed_it() -> None:
    job = MemoryJob(4, pipeline=samples.catalogue(), answer=samples.CATALOGUE_ANSWER)
    job.seal()
    job.finish(0, 1, 2)
    job.finish(3, engine="torch")
    job.collector().once()
    said, closing = manifest(job), job.closing()
    assert closing.state == "succeeded"
    assert (said["engines"], closing.engine, closing.precision, closing.device) == ([], *[None] * 3)
    assert (said["versions"]["model"], said["versions"]["model_sha256"]) == (None, None)
    by_analysis = [(m["analysis"], m["model"], m["engine"], m["images"]) for m in said["models"]]
    assert by_analysis == [
        (name, model, engine, images)
        for name, model in (("kinds", "tiny"), ("embedding", "tiny"), ("extra", "other"))
        for engine, images in (("onnxruntime", 5), ("torch", 2))
    ]
    assert [(used.analysis, used.engine) for used in closing.models] == [
        (name, "onnxruntime") for name in ("kinds", "embedding", "extra")
    ]


def test_a_job_of_palettes_closes_like_any_other() -> None:
    colours = {"colours": samples.CATALOGUE_ANSWER["colours"]}
    job = MemoryJob(4, pipeline=samples.palettes(), answer=colours)
    job.seal()
    job.finish_all()
    job.collector().once()
    assert (job.closing().state, job.closing().models) == ("succeeded", ())
    assert job.rows() == job.images
    assert (manifest(job)["models"], manifest(job)["engines"]) == ([], [])


def test_a_model_that_computed_nothing_is_named_without_an_engine(job: MemoryJob) -> None:
    job.seal()
    failure = ItemFailure(error_code=ItemErrorCode.CORRUPT, error_message="It is damaged.")
    for chunk in range(8):
        job.finish(chunk, rows=[failure, failure], computed={"classes": None})
    job.collector().once()
    (used,) = job.closing().models
    assert (used.analysis, used.model, used.engine) == ("classes", "tiny", None)
