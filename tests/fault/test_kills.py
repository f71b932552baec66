"""Kill each role once, wipe the broker once, in the middle of a job: one row for each image."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
import redis

from tests.stack import Stack, small_images
from tests.waiting import wait_for

IMAGES = 3000
RESUME_TARGET_SECONDS = 10.0


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
    "preprocess": kill("preprocess"),
    "inference": kill("inference"),
    "collector": kill("collector"),
    "producer": kill("producer"),
    "broker": wipe,
}


def rows(stack: Stack, job: str) -> int:
    """Chunk files written so far: what no fault may take away."""
    pages = stack.s3.get_paginator("list_objects_v2").paginate(
        Bucket="state", Prefix=f"jobs/{job}/chunks/"
    )
    return sum(page["KeyCount"] for page in pages)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_middle_of_a_job_costs_seconds_and_no_row(
    stack: Stack, bucket: str, fault: str, record_property: Callable[[str, object], None]
) -> None:
    job = stack.enqueue(bucket, "--batch-size", "16")
    before = wait_for(lambda: rows(stack, job), what="the first chunk")
    struck = time.monotonic()
    FAULTS[fault](stack)
    wait_for(
        lambda: rows(stack, job) > before + 4 or stack.status(job)["state"] == "succeeded",
        what="work going on",
        deadline_seconds=3 * RESUME_TARGET_SECONDS,
    )
    resumed_seconds = time.monotonic() - struck
    record_property("resumed_seconds", round(resumed_seconds, 1))
    status = stack.finish(job)
    verdict = stack.auditor.audit("faults", "in/", job)
    print(f"\n{fault}: work went on after {resumed_seconds:.1f} s; {verdict}")
    assert verdict.clean, verdict
    assert status["images"]["succeeded"] == IMAGES
