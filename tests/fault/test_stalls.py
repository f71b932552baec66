"""SIGSTOP, then SIGCONT: others take over, and what the stalled one does late changes nothing."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator

import psutil
import pytest

from shared.ledger import connect_ledger
from shared.settings import load_settings
from tests.support.injection.extent import FULL
from tests.support.injection.fingerprints import Fingerprints
from tests.support.injection.places import PLACES, Places
from tests.support.injection.table import Line, note
from tests.support.stack import Stack
from tests.support.waiting import wait_for

STOP_SECONDS = 60.0
ROLES = ("preprocess", "inference", "collector")
STALLS = ("half staged", "slot being read", "object being put")
CASES = [STALLS] if not FULL else [(stall,) for stall in STALLS]


@pytest.fixture(scope="module")
def two_of_each(stack: Stack) -> Iterator[None]:
    before = {role: len(stack.pids(role)) for role in ROLES}
    scale(stack, {role: max(2, count) for role, count in before.items()})
    yield
    scale(stack, before)


def scale(stack: Stack, counts: dict[str, int]) -> None:
    stack.run("up", "--workers", ",".join(f"{role}={count}" for role, count in counts.items()))


@pytest.mark.usefixtures("two_of_each")
@pytest.mark.parametrize("stalls", CASES, ids=" + ".join)
def test_no_pixel_and_no_row_of_a_stalled_worker_reaches_another_chunk(
    stack: Stack,
    places: Places,
    fingerprints: Fingerprints,
    stalls: tuple[str, ...],
    draw: random.Random,
) -> None:
    line = Line("SIGSTOP, then SIGCONT: " + ", ".join(stalls))
    ledger = connect_ledger(load_settings(stack.home))
    for stall in stalls:
        # In the middle of a PUT is a moment after its beginning.
        late = {"seconds": draw.uniform(0, 0.003)} if stall == "object being put" else {}
        places.arm(stall, "stop", passing=draw.randrange(PLACES[stall].calls // 2), **late)
    job = fingerprints.enqueue()
    stopped = [psutil.Process(places.struck(stall)) for stall in stalls]
    until = time.monotonic() + (STOP_SECONDS if FULL else 0)
    try:
        fingerprints.check(job, line)
        assert {process.status() for process in stopped} == {psutil.STATUS_STOPPED}
        time.sleep(max(0.0, until - time.monotonic()))
        dropped = sum(ledger.stale_counts().values())
    finally:
        for process in stopped:
            os.kill(process.pid, signal.SIGCONT)
    wait_for(
        lambda: sum(ledger.stale_counts().values()) >= dropped + len(stopped),
        what="the late steps of those that were stopped",
    )
    assert all(process.is_running() for process in stopped)
    fingerprints.check(job, Line("the same rows as before"))
    fingerprints.check(fingerprints.enqueue(), line)
    line.remark = "the job closes while they are stopped; another runs with them after"
    note(line)
