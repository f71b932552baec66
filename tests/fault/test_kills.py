"""Kill each role, wipe the broker, in the middle of a job: one row for each image."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import pytest
import redis

from tests.support.injection.extent import FULL
from tests.support.injection.table import Line, note
from tests.support.injection.watch import Watch
from tests.support.stack import Stack, chunks_of, small_images
from tests.support.waiting import wait_for

# In the short case just enough chunks for one blow with work before and after it.
IMAGES, BATCH = (3000, 16) if FULL else (650, 8)
RESUME_TARGET_SECONDS = 10.0
KILLS = 10 if FULL else 1


@pytest.fixture(scope="module")
def bucket(stack: Stack) -> str:
    stack.put("faults", small_images(IMAGES, prefix="in/"))
    return "s3://faults/in/"


def kill(role: str) -> Callable[[Stack], None]:
    def strike(stack: Stack) -> None:
        for pid in stack.pids(role):
            os.kill(pid, signal.SIGKILL)

    return strike


def wipe(stack: Stack) -> None:
    redis.Redis.from_url(stack.info["broker_url"]).flushall()


FAULTS = {
    "SIGKILL preprocess": kill("preprocess"),
    "SIGKILL inference": kill("inference"),
    "SIGKILL collector": kill("collector"),
    "SIGKILL producer": kill("producer"),
    "broker wiped": wipe,
    # Of the short route, which has no inference.
    "SIGKILL preprocess: palettes": kill("preprocess"),
    "SIGKILL collector: palettes": kill("collector"),
    # Of a pipeline with several analyses.
    "SIGKILL inference: catalogue": kill("inference"),
    # Of a detector, whose answers are lists.
    "SIGKILL inference: boxes": kill("inference"),
}
if FULL:
    FAULTS |= {
        f"SIGKILL {role}: boxes": kill(role) for role in ("preprocess", "collector", "producer")
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_middle_of_a_job_costs_seconds_and_no_row(
    request: pytest.FixtureRequest,
    stack: Stack,
    bucket: str,
    light: str,
    fault: str,
    draw: random.Random,
) -> None:
    line = Line(fault)
    # A real engine where it is what is killed: it takes most of the CPU time.
    usual = "classify" if "inference" in fault else light
    other = fault.partition(": ")[2]
    pipeline = request.getfixturevalue(other) if other else usual
    kills_left = KILLS
    while kills_left:
        job = stack.enqueue(bucket, "--chunk-items", str(BATCH), pipeline=pipeline)
        with Watch(stack, job) as watch:
            recoveries = _strike_while_it_runs(stack, watch, FAULTS[fault], kills_left, draw)
            status = stack.finish(job)
            kills_left -= len(recoveries)
            verdict = stack.auditor.audit("faults", "in/", job)
        line.add(verdict, max(recoveries, default=None))
        assert verdict.clean, verdict
        assert status["images"]["succeeded"] == IMAGES
    line.remark = f"{KILLS} blows at random moments"
    note(line)
    assert (line.worst_recovery_seconds or 0) < 3 * RESUME_TARGET_SECONDS


def _strike_while_it_runs(
    stack: Stack, watch: Watch, strike: Callable[[Stack], None], most: int, draw: random.Random
) -> list[float]:
    """Strike up to three times in one job. Returns the longest pause after each."""
    recoveries: list[float] = []
    chunks = chunks_of(IMAGES, BATCH)
    for _ in range(min(3, most)):
        target = watch.chunks + draw.randrange(4, 40)
        if target > chunks - 40:
            break
        wait_for(lambda: watch.chunks >= target, what=f"{target} chunks", deadline_seconds=60)  # noqa: B023
        struck = time.monotonic()
        strike(stack)
        further = min(watch.chunks + 8, chunks)
        wait_for(lambda: watch.chunks >= further, what="work after the blow", deadline_seconds=60)  # noqa: B023
        recoveries.append(watch.longest_pause_seconds(struck))
    return recoveries
