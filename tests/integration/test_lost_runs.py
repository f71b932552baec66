"""An item that takes the whole worker along, and not only the child it runs in, is found too."""

from __future__ import annotations

import signal
import subprocess
import sys

import redis

from shared.ledger import Ledger
from tests.support import samples
from tests.support.servers import RunningValkey
from tests.support.waiting import wait_for
from workers.suspects import MAX_LOST_RUNS


def test_five_lost_runs_end_an_item(valkey: RunningValkey) -> None:
    client = redis.Redis.from_url(valkey.url, decode_responses=True)
    client.flushall()
    ledger = Ledger(client, pause_seconds=0.01)
    ledger.begin(samples.INCARNATION)
    ledger.register_job(samples.INCARNATION, samples.JOB_UID, "job", samples.FIRST_QUEUE)
    _, (ref,) = ledger.feed(samples.INCARNATION, samples.JOB_UID, 0, 1, bound=1)
    for _ in range(MAX_LOST_RUNS):
        assert run(valkey.url, ref.attempt, "kill the parent").returncode == -signal.SIGKILL
        (ref,) = wait_for(
            lambda: ledger.rescue_held(samples.INCARNATION), what="the end of the lease"
        )
    done = run(valkey.url, ref.attempt, "kill the parent")
    assert (done.returncode, done.stdout) == (0, "The worker died 5 times while this ran, alone.\n")


def run(url: str, attempt: int, payload: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.support.workers.lone_worker", url, str(attempt), payload],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
