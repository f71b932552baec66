"""A job whose rows tell which pixels they came from, so that two runs can be compared exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.auditor import Verdict
from tests.injection.table import Line
from tests.stack import Stack, small_images

MODEL = """
import hashlib

class Fingerprint:
    def __call__(self, images):
        return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
"""
PIPELINE = "model: {python: 'fingerprint:Fingerprint'}\n"
COMPARED = ("key", "etag", "status", "label", "score", "predictions", "width", "height")


@dataclass
class Fingerprints:
    """``images`` small images in ``bucket``; each one's label is a digest of its decoded pixels.

    ``plugins``: a folder that the workers of ``stack`` see.
    """

    stack: Stack
    plugins: Path
    bucket: str
    images: int
    chunk_images: int = 16
    _pipeline: Path = field(init=False)

    def __post_init__(self) -> None:
        (self.plugins / "fingerprint.py").write_text(MODEL)
        self._pipeline = self.plugins / "fingerprint.yaml"
        self._pipeline.write_text(PIPELINE)
        self.stack.put(self.bucket, small_images(self.images, prefix="in/", seed=self.images))

    def enqueue(self) -> str:
        """Enqueue all of them. Returns the job's id."""
        return self.stack.enqueue(
            f"s3://{self.bucket}/in/",
            *("--batch-size", str(self.chunk_images)),
            pipeline=str(self._pipeline),
        )

    def check(self, job: str, line: Line, recovery_seconds: float | None = None) -> Verdict:
        """Wait for the job; every image must have the one row of the undisturbed run."""
        self.stack.finish(job)
        verdict = self.stack.auditor.audit(self.bucket, "in/", job)
        line.add(verdict, recovery_seconds)
        assert verdict.clean, verdict
        assert verdict.statuses["ok"] == self.images, verdict
        assert self._rows(job) == self._undisturbed
        return verdict

    @cached_property
    def _undisturbed(self) -> list[dict[str, Any]]:
        job = self.enqueue()
        self.stack.finish(job)
        rows = self._rows(job)
        assert len({row["label"] for row in rows}) == self.images
        return rows

    def learn(self) -> None:
        """Make the undisturbed run now, before anything is done to the stack."""
        assert self._undisturbed

    def _rows(self, job: str) -> list[dict[str, Any]]:
        rows = [{name: row[name] for name in COMPARED} for row in self.stack.rows(job)]
        return sorted(rows, key=lambda row: str(row["key"]))
