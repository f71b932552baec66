"""Celery by itself: what a message costs that carries a chunk's keys to a task that does nothing.

``worker``'s Celery application; the broker's URL is in the environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
from celery import Celery

from benchmarks.stack import ROOT

BROKER = "CELERY_ALONE_BROKER_URL"
MESSAGES = 2_000
# What a chunk of 64 keys takes.
BODY = "x" * 10_000

app = Celery("alone", broker=os.environ.get(BROKER))
app.conf.update(
    task_default_queue="alone",
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
)


@app.task(name="alone.nothing")  # type: ignore[untyped-decorator]
def nothing(_: str) -> None:
    """What there is to do."""


def microseconds_per_message(broker_url: str) -> float:
    """CPU time of sending and of a stock worker's taking, with events on; not the broker's."""
    app.conf.broker_url = broker_url
    command = ["-m", "celery", "-q", "-A", __name__, "worker", "-P", "threads", "-c", "2", "-E"]
    options = ["--without-gossip", "--without-mingle", "-l", "error"]
    environment = {**os.environ, BROKER: broker_url}
    worker = subprocess.Popen([sys.executable, *command, *options], cwd=ROOT, env=environment)
    try:
        _send(64, worker)
        before, sent = _seconds(worker), _send(MESSAGES, worker)
        return 1e6 * (sent + _seconds(worker) - before) / MESSAGES
    finally:
        worker.terminate()
        worker.wait()


def _send(count: int, worker: subprocess.Popen[bytes]) -> float:
    """CPU seconds of sending so many, which have all been taken when this returns."""
    started = time.process_time()
    for _ in range(count):
        nothing.delay(BODY)
    spent = time.process_time() - started
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        while channel.client.llen("alone") or channel.client.hlen("unacked"):
            if worker.poll() is not None:
                raise RuntimeError(f"Celery's worker ended with code {worker.returncode}")
            time.sleep(0.05)
    return spent


def _seconds(worker: subprocess.Popen[bytes]) -> float:
    times = psutil.Process(worker.pid).cpu_times()
    return float(times.user + times.system)
