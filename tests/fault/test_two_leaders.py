"""Two producers that both believe that they lead: the bucket decides, and nothing is lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from tests.support.injection.extent import JOB_SECONDS
from tests.support.injection.places import Places
from tests.support.injection.table import Line, note
from tests.support.stack import Stack, small_images
from tests.support.waiting import wait_for

BATCH = 8
SEGMENT = "segment to be written"
LATE_KEYS = 20


@pytest.fixture(scope="module", autouse=True)
def two_producers(stack: Stack) -> Iterator[None]:
    stack.run("scale", "producer=2")
    try:
        yield
    finally:
        stack.run("scale", "producer=1")


def log_lines(stack: Stack, text: str) -> int:
    """How often the producers have logged ``text``."""
    logs = (stack.home / "logs").glob("producer-*.log")
    return sum(log.read_text().count(text) for log in logs)


@contextmanager
def nobody_keeps_the_lock(stack: Stack) -> Iterator[None]:
    """Everyone who asks for the leadership gets it, so that both have it all the time."""
    ledger: Any = redis.Redis.from_url(stack.info["ledger_url"])
    ended = threading.Event()

    def delete() -> None:
        while not ended.wait(0.01):
            ledger.delete("hr:leader")

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_both_list_and_feed_at_once(stack: Stack, places: Places, full: bool) -> None:
    images = 3000 if full else 480
    stack.put("leaders", small_images(images, prefix="both/"))
    with nobody_keeps_the_lock(stack):
        # The first of the two to come there waits, and the other writes the segment.
        places.arm(SEGMENT, "hang", passing=1, seconds=3)
        job = stack.enqueue("s3://leaders/both/", "--chunk-items", str(BATCH))
        places.struck(SEGMENT)
        listed = f"{job}: {images} items"
        wait_for(
            lambda: log_lines(stack, listed) == 2,
            what="both listings",
            deadline_seconds=JOB_SECONDS,
        )
        status = stack.finish(job)
    verdict = stack.auditor.audit("leaders", "both/", job)
    line = Line("two producers that believe they lead")
    line.add(verdict)
    note(line)
    assert verdict.clean, verdict
    assert status["images"]["listed"] == images


def test_a_leader_is_frozen_past_its_lock(stack: Stack, places: Places, full: bool) -> None:
    images = 3000 if full else 480
    stack.put("leaders", small_images(images, prefix="frozen/"))
    places.arm(SEGMENT, "stop", passing=1)
    job = stack.enqueue("s3://leaders/frozen/", "--chunk-items", str(BATCH))
    frozen = places.struck(SEGMENT)
    try:
        late = small_images(LATE_KEYS, prefix="frozen/!", seed=1)  # so the two listings differ
        stack.put("leaders", late)
        wait_for(
            lambda: stack.status(job)["state"] != "listing",
            what="the seal of the other",
            deadline_seconds=JOB_SECONDS,
            every=0.3,
        )
    finally:
        os.kill(frozen, signal.SIGCONT)
    status = stack.finish(job)
    verdict = stack.auditor.audit("leaders", "frozen/", job)
    line = Line("SIGSTOP of the producer that leads, SIGCONT after another does")
    line.add(verdict)
    note(line)
    assert verdict.clean, verdict
    assert status["images"]["listed"] == images + LATE_KEYS
