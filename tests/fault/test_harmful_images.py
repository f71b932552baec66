"""An image that kills or hangs the process that it runs in fails alone, and costs few workers."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.support.injection.extent import FULL
from tests.support.injection.table import Line, note
from tests.support.stack import Stack, small_images
from tests.support.waiting import wait_for

IMAGES = 60
CHUNK = 16
WORST_DEATHS = 2
# What harms: the row of the fault table, and what the image's row says.
HARMS = {
    "Kills": ("An image that kills the process of its class", "SIGKILL"),
    "Hangs": ("A class that never returns from an image", "longer than 4 s"),
    "HoldsTheGil": ("A class that never returns, and holds the GIL", "longer than 4 s"),
}
# Of a worker whose class ends it: two make the chunk suspect, and five are lost on one image.
DEATHS_BEFORE_BLAME = 7
BATCH_SECONDS = 4
KILLS = 4

# The harmful image is white all over; its neighbours are noise.
PLUGIN = """
import ctypes, os, time

FOLDER = %r

class _Shape:
    def __call__(self, images):
        for image in images:
            if image.min() > 250:
                self.harm()
        return [("fine", 1.0) for image in images]

class Kills(_Shape):
    def harm(self):
        os.kill(os.getpid(), 9)

class KillsItsWorker(_Shape):
    def harm(self):
        keeper = open(f"/proc/{os.getppid()}/stat").read()
        os.kill(int(keeper.rpartition(")")[2].split()[1]), 9)
        time.sleep(60)

class Hangs(_Shape):
    def harm(self):
        time.sleep(3600)

class HoldsTheGil(_Shape):
    def harm(self):
        ctypes.PyDLL(None).sleep(3600)

class Fine(_Shape):
    def harm(self):
        pass

class Slow(Fine):
    def __call__(self, images):
        open(f"{FOLDER}/called-{os.getpid()}", "w").close()
        time.sleep(0.1 * len(images))
        return super().__call__(images)
"""


@pytest.fixture(scope="module")
def bucket(stack: Stack, plugins: Path) -> str:
    (plugins / "harm.py").write_text(PLUGIN.replace("%r", repr(str(plugins))))
    white = io.BytesIO()
    Image.fromarray(np.full((72, 96, 3), 255, np.uint8)).save(white, "PNG")
    stack.put("suspects", small_images(IMAGES, prefix="in/", seed=4))
    stack.put("suspects", {"in/000030-white.png": white.getvalue()})
    return "s3://suspects/in/"


def pipeline(folder: Path, harm: str) -> str:
    path = folder / f"{harm.lower()}.yaml"
    path.write_text(f"model: {{python: 'harm:{harm}'}}\nbatch_seconds: {BATCH_SECONDS}\n")
    return str(path)


class Deaths(threading.Thread):
    """Counts how often the processes of a role are others than they were."""

    def __init__(self, stack: Stack, role: str) -> None:
        super().__init__(daemon=True)
        self._stack, self._role = stack, role
        self._ended = threading.Event()
        self.pids = set(stack.pids(role))
        self._first = len(self.pids)

    @property
    def count(self) -> int:
        """Processes that took another's place."""
        return len(self.pids) - self._first

    def run(self) -> None:
        while not self._ended.wait(0.2):
            self.pids.update(self._stack.pids(self._role))

    def end(self) -> None:
        self._ended.set()
        self.join()
        self.pids.update(self._stack.pids(self._role))


@contextmanager
def deaths_of(stack: Stack, role: str) -> Iterator[Deaths]:
    deaths = Deaths(stack, role)
    deaths.start()
    try:
        yield deaths
    finally:
        deaths.end()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("harm", HARMS)
def test_an_image_that_harms_fails_alone(
    stack: Stack, bucket: str, tmp_path: Path, harm: str
) -> None:
    started, (fault, reason) = time.monotonic(), HARMS[harm]
    with deaths_of(stack, "inference") as deaths:
        job = stack.enqueue(bucket, "--chunk-items", str(CHUNK), pipeline=pipeline(tmp_path, harm))
        status = stack.finish(job, deadline_seconds=600)
    seconds = time.monotonic() - started
    assert (status["images"]["succeeded"], status["images"]["failed"]) == (IMAGES, 1)
    (failed,) = (row for row in stack.rows(job) if row["status"] == "failed")
    assert (failed["key"], failed["error_code"]) == ("in/000030-white.png", "killed_worker")
    assert reason in failed["error_message"]
    verdict = stack.auditor.audit("suspects", "in/", job)
    assert verdict.clean, verdict
    assert deaths.count == 0, "it costs the class its process, and no worker"
    line = Line(fault, remark=f"no worker died, one image failed, {seconds:.0f} s")
    line.add(verdict)
    note(line)


if FULL:  # each of its deaths is waited for longer than the last

    @pytest.mark.timeout(900)
    def test_a_class_that_ends_its_worker_ends_its_job(
        stack: Stack, bucket: str, tmp_path: Path
    ) -> None:
        path = pipeline(tmp_path, "KillsItsWorker")
        with deaths_of(stack, "inference") as deaths:
            job = stack.enqueue(bucket, "--chunk-items", str(CHUNK), pipeline=path)
            status = stack.finish(job, deadline_seconds=600)
        assert status["state"] == "failed"
        assert "died 5 times" in status["error"]
        assert status["images"]["failed"] == 0
        assert deaths.count == DEATHS_BEFORE_BLAME
        note(Line("A class that ends its worker, each time", remark=f"{deaths.count} deaths"))


def test_a_jpeg_of_endless_scans_fails_alone(stack: Stack, bucket: str, tmp_path: Path) -> None:
    path = tmp_path / "scans.yaml"
    path.write_text("model: {python: 'harm:Fine'}\npreprocess: {item_seconds: 3}\n")
    stack.put("scans", {**small_images(IMAGES, seed=5), "000030-bomb.jpg": scan_bomb()})
    with deaths_of(stack, "preprocess") as deaths:
        job = stack.enqueue("s3://scans/", "--chunk-items", str(CHUNK), pipeline=str(path))
        status = stack.finish(job)
    assert (status["images"]["succeeded"], status["images"]["failed"]) == (IMAGES, 1)
    (failed,) = (row for row in stack.rows(job) if row["status"] == "failed")
    assert (failed["key"], failed["error_code"]) == ("000030-bomb.jpg", "killed_worker")
    verdict = stack.auditor.audit("scans", "", job)
    assert verdict.clean, verdict
    assert 1 <= deaths.count <= WORST_DEATHS
    fault = "A worker that hangs: a decode that does not end"
    line = Line(fault, remark=f"{deaths.count} deaths, one image failed")
    line.add(verdict)
    note(line)


def test_holders_that_are_lost_for_other_reasons_cost_no_image(
    stack: Stack, bucket: str, plugins: Path, tmp_path: Path
) -> None:
    job = stack.enqueue(bucket, "--chunk-items", str(CHUNK), pipeline=pipeline(tmp_path, "Slow"))
    seen: set[Path] = set()
    for _ in range(KILLS):
        marks = wait_for(
            partial(called_beside, plugins, seen),
            what="a worker, or its child, in the middle of a batch",
            deadline_seconds=60,
        )
        os.kill(worker_of(marks.pop()), signal.SIGKILL)
        seen = set(plugins.glob("called-*"))
    status = stack.finish(job)
    verdict = stack.auditor.audit("suspects", "in/", job)
    line = Line("Workers that are killed in the middle of a batch, and their children")
    line.add(verdict)
    line.remark = f"{KILLS} kills, no image failed"
    note(line)
    assert status["images"]["succeeded"] == IMAGES + 1
    assert verdict.clean, verdict


def called_beside(plugins: Path, seen: set[Path]) -> set[Path]:
    """The marks of processes whose batches run since the ``seen`` ones'."""
    return set(plugins.glob("called-*")) - seen


def worker_of(mark: Path) -> int:
    """The worker whose process, or whose child, left the mark. To ask ``info`` takes too long."""
    process = psutil.Process(int(mark.name.rpartition("-")[2]))
    *_, worker = (p for p in (process, *process.parents()) if "workers.inference" in p.cmdline())
    return worker.pid


def scan_bomb() -> bytes:
    """A progressive JPEG of 125 KB whose last scan is there 2,000 times: half a minute's work."""
    sink = io.BytesIO()
    Image.new("L", (4000, 4000), 90).save(sink, "JPEG", progressive=True)
    data = sink.getvalue()
    last_scan = data.rindex(b"\xff\xda")
    return data[:last_scan] + data[last_scan:-2] * 2000 + data[-2:]
