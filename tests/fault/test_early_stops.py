"""Kills around the stop of a job of which too many images fail: it ends once, with true counts."""

from __future__ import annotations

from pathlib import Path

from tests.support.injection.places import EARLY_STOP, Places
from tests.support.injection.table import Line, note
from tests.support.stack import Stack, small_images

CLASS = """\
import time

class Refuses:
    def __call__(self, images):
        time.sleep(0.05)
        raise ValueError("never")
"""


def test_a_job_is_stopped_for_its_errors_whichever_process_dies(
    stack: Stack, plugins: Path, places: Places, full: bool
) -> None:
    images = 3000 if full else 600
    stack.put("refused", small_images(images, seed=41))
    (plugins / "refuses.py").write_text(CLASS)
    pipeline = plugins / "refuses.yaml"
    pipeline.write_text("model: {python: 'refuses:Refuses'}\n")
    deaths = (*EARLY_STOP, "manifest to be written", "closing to be written")
    for name in deaths:
        places.arm(name)
    limit = ("--max-errors", "10", "--chunk-items", "4")
    job = stack.enqueue("s3://refused/", *limit, pipeline=str(pipeline))
    for name in deaths:
        places.struck(name)
    status = stack.finish(job)
    counts = status["images"]
    verdict = stack.auditor.audit("refused", "", job, finished=False)
    line = Line("SIGKILL around an early stop: producer before and after it, collectors at closing")
    line.add(verdict)
    line.remark = f"{counts['cancelled']} images cancelled; the job failed as too_many_errors"
    note(line)
    assert (status["state"], status["reason"]) == ("failed", "too_many_errors")
    assert verdict.doubled == verdict.strangers == []
    assert verdict.rows == counts["failed"] > 10
    assert counts["cancelled"] == images - counts["failed"] > 0
    output = stack.s3.list_objects_v2(Bucket="results", Prefix=f"{job}/_SUCCESS")
    assert output["KeyCount"] == 0
