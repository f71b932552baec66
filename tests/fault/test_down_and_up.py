"""The whole stack is stopped in the middle of a job, and started again."""

from __future__ import annotations

import random
import time
from pathlib import Path

from tests.support.injection.extent import JOB_SECONDS
from tests.support.injection.slow_model import SlowModel
from tests.support.injection.table import Line, note
from tests.support.injection.watch import Watch
from tests.support.stack import Stack, small_images
from tests.support.waiting import wait_for

BATCH = 16
# What an inference worker may have in hand: one chunk running, one arriving, one leaving.
IN_HAND_CHUNKS = 3


def test_a_job_goes_on_where_the_stack_was_stopped(
    stack: Stack, plugins: Path, full: bool, draw: random.Random
) -> None:
    images = 3000 if full else 640
    stack.put("stopped", small_images(images, seed=11))
    model = SlowModel(plugins, image_seconds=0.05)
    line = Line("SIGTERM to everything (down), then up and resume")
    job = stack.enqueue("s3://stopped/", "--chunk-items", str(BATCH), pipeline=model.pipeline)
    with Watch(stack, job) as watch:
        target = draw.randrange(4, 8)
        wait_for(
            lambda: watch.chunks >= target,
            what=f"{target} chunks",
            deadline_seconds=JOB_SECONDS,
        )
        stack.run("down")
        assert watch.chunks < images // BATCH, "the job was not to be done yet"
        model.take(0.001)
        started = time.monotonic()
        stack.run("up")
        stack.run("resume", job, check=False)  # it may have ended by itself
        status = stack.finish(job)
        recovery = watch.longest_pause_seconds(started)
    verdict = stack.auditor.audit("stopped", "", job)
    again = sum(count - 1 for count in model.runs().values())
    line.add(verdict, recovery)
    line.remark = f"{again} images inferred twice"
    note(line)
    assert verdict.clean, verdict
    assert status["images"]["succeeded"] == images
    assert len(model.runs()) == images
    assert again <= IN_HAND_CHUNKS * BATCH
