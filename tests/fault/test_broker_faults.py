"""The broker, which is the ledger too, goes away in the middle of a job, and comes back.

Or its answers, and those of the store, cannot be trusted: any may fail, stall, or be done and
reported as failed.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from shared.ledger import connect_ledger
from shared.settings import load_settings
from tests.support.injection.outage import frozen, killed
from tests.support.injection.proxied_stack import BATCH, ProxiedStack
from tests.support.injection.proxy import Fate
from tests.support.injection.recording_model import finished, listed
from tests.support.injection.table import Line, note
from tests.support.injection.watch import Watch
from tests.support.waiting import wait_for

# A ledger of another birth has everything in flight done again: two full queues and what is held.
MAX_IN_FLIGHT_CHUNKS = 48
# Of what a broker forgets of its last second, and what was on its way to or from a worker.
MAX_FORGOTTEN_CHUNKS = 24
MAX_REDONE_CHUNKS = 8
RATE = 0.05  # of each fate
FATES = (Fate.FAIL, Fate.STALL, Fate.AMBIGUOUS)
# Of each fate in a short case. A chunk that is unlucky again and again waits longer each time.
ENOUGH = 3


def killed_and_back(proxied: ProxiedStack, job: str, seconds: float) -> None:
    with killed(proxied.stack, "valkey"):
        time.sleep(seconds)


def back_empty(proxied: ProxiedStack, job: str, seconds: float) -> None:
    with killed(proxied.stack, "valkey"):
        shutil.rmtree(log_of(proxied).parent)
        time.sleep(seconds)


def back_without_its_last_second(proxied: ProxiedStack, job: str, seconds: float) -> None:
    log = log_of(proxied)
    known = log.stat().st_size
    time.sleep(1)  # the second that is to be lost
    with killed(proxied.stack, "valkey"):
        assert log.stat().st_size > known
        with log.open("r+b") as file:
            file.truncate(known)
        time.sleep(seconds)


def wiped(proxied: ProxiedStack, job: str, seconds: float) -> None:
    redis.Redis.from_url(proxied.stack.info["broker_url"]).flushall()


def wiped_and_resumed(proxied: ProxiedStack, job: str, seconds: float) -> None:
    with frozen(proxied.stack, "inference"):  # else the job might end before the command comes
        wiped(proxied, job, seconds)
        proxied.stack.run("resume", job)


def full_for_a_while(proxied: ProxiedStack, job: str, seconds: float) -> None:
    with redis.Redis.from_url(proxied.stack.info["broker_url"]) as broker:
        broker.config_set("maxmemory", 1)
        time.sleep(seconds)
        broker.config_set("maxmemory", 0)


def log_of(proxied: ProxiedStack) -> Path:
    (path,) = (proxied.stack.home / "data/valkey/appendonlydir").glob("*.incr.aof")
    return path


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens, how many chunks it may have done again, and whether it leaves stale ones."""

    strike: Callable[[ProxiedStack, str, float], None]
    max_redone: int = MAX_IN_FLIGHT_CHUNKS
    is_new_ledger: bool = True


FAULTS = {
    "broker killed and restarted": Fault(killed_and_back, MAX_REDONE_CHUNKS, is_new_ledger=False),
    "last second of the broker's log lost": Fault(
        back_without_its_last_second, MAX_FORGOTTEN_CHUNKS, is_new_ledger=False
    ),
    "broker's memory full for a while": Fault(full_for_a_while, is_new_ledger=False),
    "broker comes back empty": Fault(back_empty),
    "broker wiped": Fault(wiped),
    "broker wiped, and resume": Fault(wiped_and_resumed),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broker_that_goes_away_costs_seconds_and_no_finished_work(
    proxied: ProxiedStack, fault: str, full: bool, draw: random.Random
) -> None:
    line, blow = Line(fault), FAULTS[fault]
    began = time.time()
    job = proxied.enqueue()
    with Watch(proxied.stack, job) as watch:
        target = draw.randint(2, proxied.images // BATCH // 2)
        wait_for(lambda: watch.chunks >= target, what=f"{target} chunks", deadline_seconds=60)
        chunks, done = listed(proxied.stack, job), finished(proxied.stack, job)
        struck = time.time()
        blow.strike(proxied, job, 15 if full else 3)
        back = time.monotonic()
        proxied.stack.finish(job)
        line.add(proxied.check(job), watch.first_after_seconds(back))
    stale = connect_ledger(load_settings(proxied.stack.home)).stale_counts()
    redone = (sum(proxied.seen.since(began).values()) - proxied.images) / BATCH
    line.remark = f"{redone:.0f} chunks run twice, stale: {stale}"
    note(line)
    labels = {proxied.labels[key] for chunk in done for key in chunks[chunk]}
    assert not labels & proxied.seen.since(struck).keys(), "finished chunks were run again"
    assert redone <= blow.max_redone
    assert not blow.is_new_ledger or stale.get("incarnation"), "nothing old was met"


@pytest.mark.timeout(4000)
def test_answers_that_cannot_be_trusted_cost_no_row(proxied: ProxiedStack, full: bool) -> None:
    line = Line("Of all calls 5 % fail, 5 % stall, and 5 % are done and reported as failed")
    proxies = (proxied.proxies.broker, proxied.proxies.store)
    for proxy in proxies:
        proxy.counts.clear()
        proxy.rates = dict.fromkeys(FATES, RATE)
    job = proxied.enqueue()
    try:
        if not full:
            wait_for(
                lambda: all(proxy.counts[fate] >= ENOUGH for proxy in proxies for fate in FATES),
                what=f"{ENOUGH} of each fate",
                deadline_seconds=180,
            )
            proxied.proxies.quiet()
        proxied.stack.finish(job, deadline_seconds=3600 if full else 180)
    finally:
        proxied.proxies.quiet()
    line.add(proxied.check(job))
    counts = sum((proxy.counts for proxy in proxies), start=type(proxies[0].counts)())
    line.remark = ", ".join(f"{counts[fate]} {fate}" for fate in (*FATES, Fate.PASS))
    note(line)
    assert all(proxy.counts[fate] for proxy in proxies for fate in FATES)
