"""The jobs that run under the faults: enqueued, watched, cancelled, retried, and judged."""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.support.auditor import Verdict
from tests.support.injection.slow_model import SlowModel
from tests.support.stack import Stack, small_images

BUCKET = "chaos"
SIZES = {100: 3, 300: 3, 1000: 3, 3000: 2}
CHUNK_SIZES = (1, 7, 16, 64)
DAMAGED_SHARE = 50  # one image in so many cannot be decoded
MIN_FOR_LARGE = 300
MAX_OPEN = 3
SLOW_IMAGE_SECONDS = 0.003


@dataclass
class Job:
    """One job over a prefix; a retry is over what failed there. ``state``: open, or its last."""

    job_id: str
    prefix: str
    is_retry: bool = False
    cancel_asked: bool = False
    state: str = "open"
    chunks: int = 0
    grown_at: list[float] = field(default_factory=list)

    @property
    def is_partial(self) -> bool:
        """It is not to have a row for every object."""
        return self.is_retry or self.state == "cancelled"

    @property
    def worst_pause_seconds(self) -> float:
        """The longest time between two chunk files."""
        return max((later - before for before, later in pairwise(self.grown_at)), default=0.0)


class Jobs:
    """All jobs of a run, the open ones first of all."""

    def __init__(self, stack: Stack, plugins: Path) -> None:
        self._stack = stack
        self._pipelines = ("classify", SlowModel(plugins, SLOW_IMAGE_SECONDS).pipeline)
        self.all: list[Job] = []
        # A command that failed may have done its work, so the very same is given again.
        self._failed: tuple[Job, tuple[str, ...], str] | None = None

    def put_images(self) -> None:
        """The inputs, which do not change: a prefix for each size."""
        for size in SIZES:
            images = small_images(size, prefix=f"{size}/", seed=size)
            for key in list(images)[::DAMAGED_SHARE]:
                images[key] = b"not an image"
            self._stack.put(BUCKET, images)

    @property
    def open(self) -> list[Job]:
        """Those that are not closed, as far as is known."""
        return [job for job in self.all if job.state == "open"]

    def enqueue(self, draw: random.Random) -> str:
        """One more job, if there is room. Returns what was done."""
        if len(self.open) >= MAX_OPEN:
            return ""
        job, arguments, pipeline = self._failed or self._next(draw)
        self._failed = job, arguments, pipeline
        self._stack.enqueue(f"s3://{BUCKET}/{job.prefix}", *arguments, pipeline=pipeline)
        self._failed = None
        self.all.append(job)
        return f"{job.job_id} over {job.prefix} {Path(pipeline).stem} {arguments[-1]}"

    def _next(self, draw: random.Random) -> tuple[Job, tuple[str, ...], str]:
        size = draw.choices(list(SIZES), list(SIZES.values()))[0]
        chunks = [chunk for chunk in CHUNK_SIZES if chunk > 1 or size < MIN_FOR_LARGE]
        job = Job(f"chaos-{len(self.all):03d}", f"{size}/")
        arguments = ("--job-id", job.job_id, "--chunk-items", str(draw.choice(chunks)))
        return job, arguments, draw.choice(self._pipelines)

    def cancel(self, draw: random.Random) -> str:
        """Cancel an open job."""
        candidates = [job for job in self.open if not job.cancel_asked]
        if not candidates:
            return "nothing to cancel"
        job = draw.choice(candidates)
        job.cancel_asked = True
        self._stack.run("cancel", job.job_id)
        return job.job_id

    def retry(self, draw: random.Random) -> str:
        """Retry what failed in a job that has succeeded."""
        candidates = [job for job in self.all if job.state == "succeeded" and not job.is_retry]
        if not candidates or len(self.open) >= MAX_OPEN:
            return "nothing to retry"
        parent = draw.choice(candidates)
        job_id = str(self._stack.json("retry", parent.job_id, "--failed")["job_id"])
        self.all.append(Job(job_id, parent.prefix, is_retry=True))
        return f"{job_id} retries {parent.job_id}"

    def look(self) -> None:
        """See which open jobs have come forward, or are closed."""
        for job in self.open:
            chunks = len(self._names(f"jobs/{job.job_id}/chunks/"))
            if chunks > job.chunks:
                job.chunks = chunks
                job.grown_at.append(time.monotonic())
            closing = f"jobs/{job.job_id}/closed.json"
            if self._names(closing):
                body = self._stack.s3.get_object(Bucket="state", Key=closing)["Body"].read()
                job.state = str(json.loads(body)["state"])

    def _names(self, prefix: str) -> list[str]:
        pages = self._stack.s3.get_paginator("list_objects_v2").paginate(
            Bucket="state", Prefix=prefix
        )
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def judge(self, job: Job) -> tuple[Verdict, list[str]]:
        """What the auditor says of a job that has ended, and what is wrong with it."""
        verdict = self._stack.auditor.audit(
            BUCKET, job.prefix, job.job_id, finished=not job.is_partial
        )
        wrong = [] if verdict.clean else [str(verdict)]
        if job.is_partial:
            wrong += self._counts(verdict, self._stack.status(job.job_id)["images"])
        if job.state != "succeeded" and not (job.state == "cancelled" and job.cancel_asked):
            wrong.append(f"it is {job.state}")
        return verdict, [f"{job.job_id}: {text}" for text in wrong]

    @staticmethod
    def _counts(verdict: Verdict, images: dict[str, Any]) -> list[str]:
        """A job that is not to have every object has as many rows as it says."""
        rows = images["succeeded"] + images["failed"]
        adds_up = images["listed"] == rows + images["cancelled"]
        return [] if adds_up and verdict.rows == rows else [f"{verdict.rows} rows of {images}"]
