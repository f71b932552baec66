"""Watches a job come forward, one chunk file after another."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

from tests.support.stack import Stack


class Watch(threading.Thread):
    """Notes when chunk files appear, and so for how long nothing came forward."""

    def __init__(self, stack: Stack, job: str) -> None:
        super().__init__(daemon=True)
        self._stack, self._prefix = stack, f"jobs/{job}/chunks/"
        self._ended = threading.Event()
        self.chunks = 0
        self.grown_at = [time.monotonic()]

    def run(self) -> None:
        while not self._ended.wait(0.1):
            try:
                chunks = self._count()
            except Exception:  # noqa: BLE001 - the store itself may be the one that is struck
                continue
            if chunks > self.chunks:
                self.chunks = chunks
                self.grown_at.append(time.monotonic())

    def _count(self) -> int:
        pages = self._stack.s3.get_paginator("list_objects_v2").paginate(
            Bucket="state", Prefix=self._prefix
        )
        return sum(page["KeyCount"] for page in pages)

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def longest_pause_seconds(self, since: float) -> float:
        """The longest time between two chunk files after ``since``."""
        times = [since, *(moment for moment in self.grown_at if moment > since)]
        return max((later - earlier for earlier, later in pairwise(times)), default=0.0)

    def first_after_seconds(self, moment: float) -> float:
        """From ``moment`` to the next chunk file; zero where none has come since."""
        return next((at - moment for at in self.grown_at if at > moment), 0.0)
