"""A collector may die at any step, and others may work beside it: the result is the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.job import Accounting, JobStop, MaxErrors
from tests.support.job_in_memory import Died, MemoryJob

CHUNKS = 8


def ready_job(*, max_errors: int | None = None, stopped: bool = False, **seal: Any) -> MemoryJob:
    limit = None if max_errors is None else MaxErrors(images=max_errors)
    job = MemoryJob(CHUNKS, max_errors=limit)
    if stopped:
        stop = JobStop(error="Too many.", reason="too_many_errors")
        job.jobs.stop(job.spec.job_id, job.spec.job_uid, stop)
    job.seal(**seal)
    if seal.get("cancelled") or stopped:
        job.finish(1, 2, 7)
    else:
        job.finish_all()
    return job


def run_until(job: MemoryJob, step: int) -> bool:
    """A fresh collector's pass that dies at a step; False where it ended before."""

    def die(at: int) -> None:
        if at == step:
            raise Died

    job.store.begin()
    job.store.at_step = die
    try:
        job.collector().once()
    except Died:
        return True
    finally:
        job.store.at_step = lambda _step: None
    return False


def outcome(job: MemoryJob) -> dict[str, Any]:
    """All that users see, but for times."""
    assert job.chunk_files() == []
    assert job.ledger.jobs() == []
    parts = {name: data for name, data in job.output().items() if name.startswith("rows/")}
    assert job.closing().seconds == json.loads(job.output()["manifest.json"])["seconds"]
    closing = job.closing().model_dump(exclude={"closed_at", "seconds"})
    return {"names": sorted(job.output()), "parts": parts, "closing": closing}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ({}, None),
        ({"cancelled": True}, None),
        ({"max_errors": 2}, "too_many_errors"),
        ({"max_errors": 0, "stopped": True}, "too_many_errors"),
    ],
)
def test_death_at_any_step_changes_nothing(kind: dict[str, Any], reason: str | None) -> None:
    whole = ready_job(**kind)
    whole.collector().once()
    expected = outcome(whole)
    assert whole.closing().reason == reason
    step = 0
    while run_until(job := ready_job(**kind), step):
        assert max(job.rows().values(), default=1) == 1
        job.collector().once()
        assert outcome(job) == expected, f"after a death at step {step}"
        step += 1
    assert step > 30


@pytest.mark.parametrize("cancelled", [False, True])
def test_another_collector_at_any_step_changes_nothing(cancelled: bool) -> None:
    """The other one closes the whole job while the first stands still between two steps."""
    whole = ready_job(cancelled=cancelled)
    whole.collector().once()
    expected = outcome(whole)
    for step in range(1000):
        job = ready_job(cancelled=cancelled)
        met = False

        def close_meanwhile(at: int, job: MemoryJob = job, step: int = step) -> None:
            nonlocal met
            if at == step:
                met = True
                job.collector().once()

        job.store.begin()
        job.store.at_step = close_meanwhile
        job.collector().once()
        job.collector().once()
        assert outcome(job) == expected, f"met at step {step}"
        if not met:
            assert step > 30
            return
    pytest.fail("it never ends")


def test_many_deaths_in_a_row_change_nothing() -> None:
    whole = ready_job()
    whole.collector().once()
    job = ready_job()
    for step in range(1000):
        if not run_until(job, step):
            break
    assert outcome(job) == outcome(whole)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_order_of_chunks_deaths_and_losses(data: st.DataObject) -> None:
    """Chunks end in any order; collectors die anywhere; a chunk file may vanish before its part."""
    count = data.draw(st.integers(0, 20), "chunks")
    job = MemoryJob(count)
    seal_after = data.draw(st.integers(0, count), "sealed after")
    order = data.draw(st.permutations(range(count)), "order")
    veteran = job.collector()
    for number, chunk in enumerate(order):
        if number == seal_after:
            job.seal()
        job.finish(chunk)
        match data.draw(st.sampled_from(["nothing", "die", "pass", "lose"])):
            case "die":
                run_until(job, data.draw(st.integers(0, 40), "dies at"))
            case "pass":
                veteran.once()
            case "lose":
                lose_a_file(job, data.draw(st.integers(0, count), "lost"))
        assert max(job.rows().values(), default=1) == 1
        assert job.rows() <= job.images
    if seal_after == count:
        job.seal()
    for step in data.draw(st.lists(st.integers(0, 60), max_size=5), "dies at"):
        feed_what_was_reopened(job)
        run_until(job, step)
    while job.ledger.jobs():
        feed_what_was_reopened(job)
        veteran.once()
    assert job.rows() == job.images
    accounting = job.closing().accounting
    assert accounting == Accounting(
        listed=2 * count, succeeded=2 * count - 2 * count // 5, failed=2 * count // 5, skipped=1
    )
    assert outcome(job)["closing"]["state"] == ("succeeded" if count else "failed")


def feed_what_was_reopened(job: MemoryJob) -> None:
    """Do what the producer and the stages do for chunks that are not done."""
    if job.ledger.jobs():
        job.finish(*(set(range(len(job.chunks))) - job.ledger.done[job.spec.job_uid]))


def lose_a_file(job: MemoryJob, which: int) -> None:
    files = job.chunk_files()
    if files:
        job.store.delete("state", files[which % len(files)])
