"""Two jobs at once, one of them cancelled; and what preempted workers leave behind."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from tests.support.injection.extent import JOB_SECONDS
from tests.support.injection.places import Places
from tests.support.injection.slots import job_uid, taken_slots
from tests.support.injection.slow_model import SlowModel
from tests.support.injection.table import Line, note
from tests.support.stack import Stack, small_images
from tests.support.waiting import wait_for

BATCH = 16
FREE_SECONDS = 10.0
FEW = 8 * BATCH  # so that its chunks leave slots for the other's


def test_a_cancelled_job_lets_go_of_its_slots_and_the_other_is_untouched(
    stack: Stack, plugins: Path, full: bool
) -> None:
    images = 3000 if full else 640
    stack.put("cancelled", small_images(images, seed=21))
    stack.put("untouched", small_images(FEW, seed=22))
    model = SlowModel(plugins, image_seconds=1.0)  # until both jobs are there
    enqueue = ("--chunk-items", str(BATCH))
    other = stack.enqueue("s3://untouched/", *enqueue, pipeline=model.pipeline)
    cancelled = stack.enqueue("s3://cancelled/", *enqueue, pipeline=model.pipeline)
    uids = job_uid(stack, cancelled), job_uid(stack, other)
    wait_for(
        lambda: all(taken_slots(stack, uid) for uid in uids),
        what="slots of both jobs",
        deadline_seconds=JOB_SECONDS,
    )
    model.take(0.02)
    stack.run("cancel", cancelled)
    asked = time.monotonic()
    wait_for(lambda: not taken_slots(stack, uids[0]), what="its slots", deadline_seconds=60)
    freed_seconds = time.monotonic() - asked
    model.take(0.001)
    ended, status = stack.finish(cancelled), stack.finish(other)
    counts = ended["images"]
    line = Line("two jobs at once, one cancelled")
    verdict = stack.auditor.audit("untouched", "", other)
    line.add(verdict, freed_seconds)
    line.remark = f"{counts['cancelled']} images cancelled; its slots free after the time shown"
    note(line)
    assert verdict.clean, verdict
    assert (status["state"], status["images"]["succeeded"]) == ("succeeded", FEW)
    assert ended["state"] == "cancelled"
    assert counts["cancelled"] > 0
    assert counts["listed"] == counts["succeeded"] + counts["failed"] + counts["cancelled"]
    partial = stack.auditor.audit("cancelled", "", cancelled, finished=False)
    assert partial.doubled == partial.strangers == []
    assert partial.rows == counts["succeeded"]
    assert freed_seconds < FREE_SECONDS


def test_preempted_workers_leave_no_slot_behind(
    stack: Stack, places: Places, full: bool, draw: random.Random
) -> None:
    """Told to stop, or gone at once, in the middle of filling a slot."""
    images = 3000 if full else 320
    stack.put("preempted", small_images(images, seed=23))
    job = stack.enqueue("s3://preempted/", "--chunk-items", str(BATCH))
    uid = job_uid(stack, job)
    for blow in (signal.SIGTERM, signal.SIGKILL) * (5 if full else 1):
        places.arm("half staged", "stop", passing=draw.randrange(1, BATCH))
        pid = places.struck("half staged")
        os.kill(pid, blow)
        os.kill(pid, signal.SIGCONT)
    status = stack.finish(job)
    verdict = stack.auditor.audit("preempted", "", job)
    line = Line("preprocess workers preempted with half a slot written")
    line.add(verdict)
    note(line)
    assert verdict.clean, verdict
    assert status["images"]["succeeded"] == images
    assert taken_slots(stack, uid) == []
