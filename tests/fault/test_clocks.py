"""One worker's clock is an hour off: leases go by the broker's, and nothing is sent twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from shared.ledger import LiveWorker, connect
from shared.settings import load_settings
from tests.injection.slow_model import SlowModel
from tests.injection.table import Line, note
from tests.stack import ROOT, Stack, small_images
from tests.waiting import wait_for

HOUR = 3600
BATCH = 8
LIBFAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


@contextmanager
def one_more(stack: Stack, role: str, **environment: str) -> Iterator[str]:
    """One more process of a role, with a surrounding of its own. Gives its name."""
    name = f"{role}-9"
    own = {"HEADRACE_HOME": str(stack.home), "HEADRACE_PROCESS": name}
    own["HEADRACE_SETTINGS_FILE"] = f"run/roles/{role}.json"
    with (stack.home / "logs" / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", f"workers.{role}"],
            env={**os.environ, **stack.environment, **own, **environment},
            cwd=ROOT,
            stderr=log,
        )
    try:
        yield name
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def live(stack: Stack, name: str) -> LiveWorker | None:
    workers = connect(load_settings(stack.home)).workers()
    return next((worker for worker in workers if worker.process == name), None)


@pytest.mark.parametrize("role", ["preprocess", "inference", "collector"])
@pytest.mark.parametrize("hours", [1, -1])
def test_work_goes_on_beside_and_in_a_worker_whose_time_is_wrong(
    stack: Stack, plugins: Path, full: bool, role: str, hours: int
) -> None:
    """By ``time.time``, which is what Celery and kombu go by."""
    images = 3000 if full else 160
    stack.put("clocks", small_images(images, seed=41))
    model = SlowModel(plugins, image_seconds=0.01)
    ledger: Any = redis.Redis.from_url(stack.info["ledger_url"], decode_responses=True)
    with one_more(stack, role, INJECTION_CLOCK_SECONDS=str(hours * HOUR)) as name:
        wait_for(lambda: live(stack, name), what=f"the lease of {name}", deadline_seconds=60)
        late = sum(map(int, ledger.hvals("hr:stale")))
        job = stack.enqueue("s3://clocks/", "--batch-size", str(BATCH), pipeline=model.pipeline)
        wait_for(
            lambda: (worker := live(stack, name)) and worker.held,
            what=f"a chunk in the hands of {name}",
            every=0.01,
        )
        status = stack.finish(job)
        late = sum(map(int, ledger.hvals("hr:stale"))) - late
    judge(stack, job, images, f"clock of one {role} worker {hours:+} h", f"{late} late messages")
    assert status["images"]["succeeded"] == images
    assert set(model.runs().values()) == {1}, "an image was inferred twice"
    assert late == 0


@pytest.mark.parametrize("role", ["preprocess", "inference", "collector"] if LIBFAKETIME else [])
def test_who_no_store_would_answer_takes_no_work(stack: Stack, full: bool, role: str) -> None:
    """With all of a process's time shifted: the store refuses what is signed with it."""
    images = 3000 if full else 160
    stack.put("clocks", small_images(images, seed=41))
    shift = {"LD_PRELOAD": str(LIBFAKETIME), "FAKETIME": "+1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with one_more(stack, role, **shift) as name:
        log = stack.home / "logs" / f"{name}.log"
        wait_for(lambda: "Set the clock" in log.read_text(), what="its complaint")
        job = stack.enqueue("s3://clocks/", "--batch-size", str(BATCH))
        status = stack.finish(job)
        assert live(stack, name) is None
    judge(stack, job, images, f"clock of one {role} worker +1 h (libfaketime)")
    assert status["images"]["succeeded"] == images


def judge(stack: Stack, job: str, images: int, fault: str, remark: str = "") -> None:
    verdict = stack.auditor.audit("clocks", "", job)
    line = Line(fault, remark=remark)
    line.add(verdict)
    note(line)
    assert verdict.clean, verdict
    assert verdict.rows == images
