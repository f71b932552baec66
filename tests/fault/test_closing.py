"""Two collectors make the same parts, and collectors die while a job is being closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.injection.extent import JOB_SECONDS
from tests.support.injection.places import Places
from tests.support.injection.table import Line, note
from tests.support.stack import Stack, chunks_of, small_images
from tests.support.waiting import wait_for

BATCH = 16
DEATHS = (
    "part to be written",
    "manifest to be written",
    "marker to be written",
    "closing to be written",
    "chunk files to be deleted",
)


@pytest.fixture(scope="module")
def images(stack: Stack, full: bool) -> int:
    count = 3000 if full else 160
    stack.put("closing", small_images(count))
    return count


@pytest.fixture(scope="module")
def two_collectors(stack: Stack, images: int) -> Iterator[None]:
    stack.run("scale", "collector=2")
    try:
        yield
    finally:
        stack.run("scale", "collector=1")


Enqueue = Callable[[], str]


@pytest.fixture
def enqueue(stack: Stack, images: int, light: str) -> Enqueue:
    """Begins a job over all images."""
    assert images
    return lambda: stack.enqueue("s3://closing/", "--chunk-items", str(BATCH), pipeline=light)


def test_the_last_collector_dies_when_the_last_chunk_is_recorded(
    stack: Stack, places: Places, images: int, enqueue: Enqueue
) -> None:
    line = Line("the last collector dead after the last chunk is recorded")
    places.arm("chunk recorded and not acked", passing=chunks_of(images, BATCH) - 1)
    job = enqueue()
    places.struck("chunk recorded and not acked")
    judge(stack, job, line)
    note(line)


@pytest.mark.usefixtures("two_collectors")
def test_collectors_die_at_each_step_of_closing(
    stack: Stack, places: Places, enqueue: Enqueue, full: bool
) -> None:
    """One job for each step, and in the short case one job for all of them."""
    line = Line("SIGKILL of a collector between parts, manifest.json, _SUCCESS and closed.json")
    for steps in [[name] for name in DEATHS] if full else [list(DEATHS)]:
        for name in steps:
            places.arm(name)
        job = enqueue()
        for name in steps:
            places.struck(name)
        judge(stack, job, line)
    note(line)


@pytest.mark.usefixtures("two_collectors")
def test_two_collectors_make_the_same_parts_and_close_the_same_job(
    stack: Stack, places: Places, enqueue: Enqueue
) -> None:
    """One comes to the place first and waits there, so that the other passes it."""
    line = Line("two collectors roll up the same part and close the same job")
    for place in ("part to be written", "manifest to be written"):
        places.arm(place, "hang", seconds=3)
    job = enqueue()
    wait_for(
        lambda: closed_by(stack, job) == 2,
        what="both collectors past the closing",
        deadline_seconds=JOB_SECONDS,
    )
    judge(stack, job, line)
    note(line)


def closed_by(stack: Stack, job: str) -> int:
    """How many collectors have logged that the job is closed."""
    logs = (stack.home / "logs").glob("collector-*.log")
    return sum(f"{job}: succeeded" in log.read_text() for log in logs)


def judge(stack: Stack, job: str, line: Line) -> None:
    status = stack.finish(job)
    verdict = stack.auditor.audit("closing", "", job)
    line.add(verdict)
    assert status["state"] == "succeeded"
    assert verdict.clean, verdict
