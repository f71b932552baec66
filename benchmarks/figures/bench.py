"""What the figures share: a stack, what lies in its bucket, and the jobs that run over it."""

from __future__ import annotations

import io
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from benchmarks.figures.sampling import sampled
from benchmarks.stack import BUCKET, ROOT, BenchStack
from producer.lead.lister import Lister
from shared.item import Item
from shared.job_store import JobStore

PIPELINES = ROOT / "benchmarks" / "pipelines"
MIB = 2**20


class Keys:
    """A listing of ``count`` keys, made up as it is read. No object has any of them."""

    PREFIX = "nothing/"

    def __init__(self, count: int) -> None:
        self.skipped = 0
        self._count = count

    def __iter__(self) -> Iterator[Item]:
        for number in range(self._count):
            key = f"{self.PREFIX}{number % 1000:03d}/{number:09d}.jpg"
            yield Item(key=key, etag="d41d8cd98f00b204e9800998ecf8427e", size=1)


@dataclass
class Bench:
    """``images``: how many photos make a bucket; ``keys``: how many make a long listing."""

    stack: BenchStack
    open_photos: Callable[[], list[Path]]
    images: int
    keys: int
    _filled: set[int] = field(default_factory=set)

    @cached_property
    def photos(self) -> str:
        """The URL of a prefix with photos."""
        return f"s3://{BUCKET}/{self.stack.fill(self.open_photos(), self.images)}"

    def tiny(self, count: int) -> str:
        """The prefix of ``count`` JPEGs of a few hundred bytes, in folders of 1,000."""
        prefix = f"tiny-{count}/"
        if count not in self._filled:
            sink = io.BytesIO()
            Image.new("RGB", (8, 8), (90, 120, 60)).save(sink, "JPEG")
            body = sink.getvalue()
            self.stack.put((f"{prefix}{n // 1000:06d}/{n:09d}.jpg", body) for n in range(count))
            self._filled.add(count)
        return prefix

    @cached_property
    def jobs(self) -> JobStore:
        """The jobs of the stack."""
        settings = self.stack.settings
        return JobStore(self.stack.store, settings.state_bucket)

    def enqueue(self, source: str, pipeline: str, *more: str) -> str:
        """``enqueue`` as it is typed. Returns the job's id."""
        return str(self.stack.json("enqueue", source, "--pipeline", pipeline, *more)["job_id"])

    def run(self, source: str, pipeline: str, *more: str) -> dict[str, Any]:
        """A job from ``enqueue`` to its end. Returns its ``manifest.json``."""
        job = self.enqueue(source, pipeline, *more)
        while (manifest := self.stack.output_manifest_or_none(job)) is None:
            time.sleep(0.1)
        return manifest

    def cancel(self, job: str) -> None:
        """Cancel a job, unless it has ended."""
        if self.jobs.closing(job) is None:
            with suppress(subprocess.CalledProcessError):  # now it has
                self.stack.run("cancel", job)

    @cached_property
    def listed(self) -> tuple[str, dict[str, float]]:
        """A job over ``keys`` made-up keys that this process listed, and what that took.

        No producer runs meanwhile, nor afterwards.
        """
        self.stack.run("scale", "producer=0")
        self.stack.put(iter([(f"{Keys.PREFIX}one.jpg", b"")]))  # an empty prefix is refused
        job = self.enqueue(f"s3://{BUCKET}/{Keys.PREFIX}", "classify")
        lister = Lister(
            self.jobs.spec(job), self.jobs, lambda: Keys(self.keys), self.stack.home / "data"
        )
        resident_mib: list[float] = []
        with sampled(lambda: resident_mib.append(psutil.Process().memory_info().rss / MIB)):
            started = time.monotonic()
            lister.run()
            seconds = time.monotonic() - started
        warm = resident_mib[len(resident_mib) // 10 :]
        return job, {"seconds": seconds, "resident_growth_mib": max(warm) - warm[0]}
