"""The broker, which is the ledger too, goes away in the middle of a job, and comes back."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from shared.ledger import connect
from shared.settings import load_settings
from tests.fault.conftest import FAR_BATCH, Far
from tests.injection.outage import killed
from tests.injection.seen import finished, listed
from tests.injection.table import Line, note
from tests.injection.watch import Watch
from tests.waiting import wait_for

# A ledger of another birth makes everything in flight anew: two full queues and what is held.
MOST_IN_FLIGHT_CHUNKS = 48
# What a broker forgets of one second's work is done again, and what was on its way to a worker.
MOST_FORGOTTEN_CHUNKS = 24
MOST_REDONE_CHUNKS = 8

Strike = Callable[[Far, str, float], None]


def killed_and_back(far: Far, job: str, seconds: float) -> None:
    with killed(far.stack, "valkey"):
        time.sleep(seconds)


def back_empty(far: Far, job: str, seconds: float) -> None:
    with killed(far.stack, "valkey"):
        shutil.rmtree(log_of(far).parent)
        time.sleep(seconds)


def back_without_its_last_second(far: Far, job: str, seconds: float) -> None:
    log = log_of(far)
    known = log.stat().st_size
    time.sleep(1)  # the second that is to be lost
    with killed(far.stack, "valkey"):
        assert log.stat().st_size > known
        with log.open("r+b") as file:
            file.truncate(known)
        time.sleep(seconds)


def wiped(far: Far, job: str, seconds: float) -> None:
    redis.Redis.from_url(far.stack.info["broker_url"]).flushall()


def wiped_and_resumed(far: Far, job: str, seconds: float) -> None:
    wiped(far, job, seconds)
    far.stack.run("resume", job)


def log_of(far: Far) -> Path:
    (path,) = (far.stack.home / "data/valkey/appendonlydir").glob("*.incr.aof")
    return path


FAULTS: dict[str, tuple[Strike, int]] = {
    "broker killed and restarted": (killed_and_back, MOST_REDONE_CHUNKS),
    "broker comes back empty": (back_empty, MOST_IN_FLIGHT_CHUNKS),
    "last second of the broker's log lost": (back_without_its_last_second, MOST_FORGOTTEN_CHUNKS),
    "broker wiped": (wiped, MOST_IN_FLIGHT_CHUNKS),
    "broker wiped, and resume": (wiped_and_resumed, MOST_IN_FLIGHT_CHUNKS),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broker_that_goes_away_costs_seconds_and_no_finished_work(
    far: Far, fault: str, full: bool, draw: random.Random
) -> None:
    strike, most_redone = FAULTS[fault]
    line = Line(fault)
    job = far.enqueue()
    with Watch(far.stack, job) as watch:
        target = draw.randint(2, far.images // FAR_BATCH // 2)
        wait_for(lambda: watch.chunks >= target, what=f"{target} chunks", deadline_seconds=60)
        chunks, done = listed(far.stack, job), finished(far.stack, job)
        struck = time.time()
        strike(far, job, 15 if full else 3)
        back = time.monotonic()
        stale = wait_for(lambda: stale_chunks(far), what="something stale")
        far.stack.finish(job)
        line.add(far.check(job), watch.first_after_seconds(back))
    runs = far.seen.since(struck)
    labels = {far.labels[key] for chunk in done for key in chunks[chunk]}
    redone = (sum(runs.values()) + len(labels) - far.images) / FAR_BATCH
    line.remark = f"{redone:.0f} chunks run again, {stale} stale"
    note(line)
    assert not labels & runs.keys(), "finished chunks were run again"
    assert redone <= most_redone


def stale_chunks(far: Far) -> int:
    """What was found to be of another incarnation or attempt since the broker was last empty."""
    return sum(connect(load_settings(far.stack.home)).stale_counts().values())
