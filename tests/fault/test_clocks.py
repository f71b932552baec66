"""One worker's clock is an hour off: leases go by the broker's, and nothing is sent twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import redis

from shared.ledger import LiveWorker, connect_ledger
from shared.settings import load_settings
from tests.support.injection.slow_model import SlowModel
from tests.support.injection.table import Line, note
from tests.support.stack import ROOT, Stack, small_images
from tests.support.waiting import wait_for

HOUR = 3600
BATCH = 8
ROLES = ("preprocess", "inference", "collector")
# Where a machine has the library, all of a process's time is shifted.
LIBFAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


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
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield name
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def tried(full: bool, draw: random.Random) -> list[tuple[str, int]]:
    """Roles, and by how many hours one of their workers is wrong."""
    every = list(product(ROLES, (1, -1)))
    return every if full else [draw.choice(every)]


def test_work_goes_on_beside_and_in_a_worker_whose_time_is_wrong(
    stack: Stack, plugins: Path, full: bool, draw: random.Random
) -> None:
    """By ``time.time``, which is what Celery and kombu go by."""
    images = put_images(stack, full)
    ledger: Any = redis.Redis.from_url(stack.info["ledger_url"], decode_responses=True)
    line = Line("one worker's clock an hour off")
    for role, hours in tried(full, draw):
        model = SlowModel(plugins, image_seconds=0.01)
        with one_more(stack, role, INJECTION_CLOCK_SECONDS=str(hours * HOUR)) as name:
            wait_for(partial(live, stack, name), what=f"the lease of {name}", deadline_seconds=60)
            late = sum(map(int, ledger.hvals("hr:stale")))
            job = stack.enqueue(
                "s3://clocks/", "--chunk-items", str(BATCH), pipeline=model.pipeline
            )
            wait_for(partial(held, stack, name), what=f"a chunk with {name}", every=0.01)
            judge(stack, job, images, line)
            late = sum(map(int, ledger.hvals("hr:stale"))) - late
        assert set(model.runs().values()) == {1}, "an image was inferred twice"
        assert late == 0, "a message was sent twice"
    line.remark = "no message and no image twice"
    note(line)


@pytest.mark.parametrize("library", [None, *LIBFAKETIME], ids=lambda path: path and path.stem)
def test_who_no_store_would_answer_takes_no_work(
    stack: Stack, light: str, full: bool, draw: random.Random, library: Path | None
) -> None:
    """A store refuses what is signed with a wrong time; without the library it just says so."""
    images = put_images(stack, full)
    line = Line("one worker's clock refused by the store", remark=library.stem if library else "")
    for role, hours in tried(full, draw):
        with refusing_store() as endpoint:
            surrounding = {"HEADRACE_S3__ENDPOINT": endpoint}
            if library is not None:
                surrounding = {"LD_PRELOAD": str(library), "FAKETIME": f"{hours:+}h"}
                surrounding["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
            with one_more(stack, role, **surrounding) as name:
                wait_for(partial(complains, stack, name), what="its complaint", deadline_seconds=60)
                job = stack.enqueue("s3://clocks/", "--chunk-items", str(BATCH), pipeline=light)
                judge(stack, job, images, line)
                assert live(stack, name) is None
    note(line)


class Refusal(BaseHTTPRequestHandler):
    """What a store answers to a request from another time."""

    def do_GET(self) -> None:
        body = b"<Error><Code>RequestTimeTooSkewed</Code><Message>Too late.</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def refusing_store() -> Iterator[str]:
    """Its ``host:port``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def put_images(stack: Stack, full: bool) -> int:
    images = 3000 if full else 160
    stack.put("clocks", small_images(images, seed=41))
    return images


def live(stack: Stack, name: str) -> LiveWorker | None:
    workers = connect_ledger(load_settings(stack.home)).workers()
    return next((worker for worker in workers if worker.process == name), None)


def held(stack: Stack, name: str) -> tuple[str, ...]:
    worker = live(stack, name)
    return worker.held if worker else ()


def complains(stack: Stack, name: str) -> bool:
    return "Set the clock" in (stack.home / "logs" / f"{name}.log").read_text()


def judge(stack: Stack, job: str, images: int, line: Line) -> None:
    status = stack.finish(job)
    verdict = stack.auditor.audit("clocks", "", job)
    line.add(verdict)
    assert verdict.clean, verdict
    assert status["images"]["succeeded"] == images
