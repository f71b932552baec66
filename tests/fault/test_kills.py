"""Kill each role once, wipe the broker once, in the middle of a job: one row for each image."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from itertools import pairwise

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


class Watch(threading.Thread):
    """Notes when chunk files appear, and so for how long nothing came forward."""

    def __init__(self, stack: Stack, job: str) -> None:
        super().__init__(daemon=True)
        self._stack, self._prefix = stack, f"jobs/{job}/chunks/"
        self._ended = threading.Event()
        self.chunks = 0
        self.grown_at = [time.monotonic()]

    def run(self) -> None:
        while not self._ended.wait(0.1):
            pages = self._stack.s3.get_paginator("list_objects_v2").paginate(
                Bucket="state", Prefix=self._prefix
            )
            chunks = sum(page["KeyCount"] for page in pages)
            if chunks > self.chunks:
                self.chunks = chunks
                self.grown_at.append(time.monotonic())

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def longest_pause_seconds(self, since: float) -> float:
        """The longest time between two chunk files after ``since``."""
        times = [since, *(moment for moment in self.grown_at if moment > since)]
        return max(later - earlier for earlier, later in pairwise(times))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_middle_of_a_job_costs_seconds_and_no_row(
    stack: Stack, bucket: str, fault: str, record_property: Callable[[str, object], None]
) -> None:
    job = stack.enqueue(bucket, "--batch-size", "16")
    with Watch(stack, job) as watch:
        wait_for(lambda: watch.chunks > 3, what="the first chunks")
        struck = time.monotonic()
        FAULTS[fault](stack)
        status = stack.finish(job)
    pause_seconds = watch.longest_pause_seconds(struck)
    record_property("longest_pause_seconds", round(pause_seconds, 1))
    verdict = stack.auditor.audit("faults", "in/", job)
    print(f"\n{fault}: the longest pause was {pause_seconds:.1f} s; {verdict}")
    assert verdict.clean, verdict
    assert status["images"]["succeeded"] == IMAGES
    assert pause_seconds < 3 * RESUME_TARGET_SECONDS
