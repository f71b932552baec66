"""A job whose rows tell which pixels they came from, so that two runs can be compared exactly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.support.injection.table import Line
from tests.support.stack import Stack, small_images

MODEL = """
import hashlib

class Fingerprint:
    def __call__(self, images):
        return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]

class Hungry(Fingerprint):
    def __call__(self, images):
        if len(images) > 5:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return super().__call__(images)
"""
# A process that is stopped for a minute is to go on then, and not to end as one that hangs.
PIPELINE = "{{model: {{python: 'fingerprint:{model}'}}, preprocess: {{item_seconds: 300}}}}\n"
COMPARED = (
    *("key", "etag", "status", "label", "score", "predictions", "width", "height", "warning"),
)


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

    def __post_init__(self) -> None:
        (self.plugins / "fingerprint.py").write_text(MODEL)
        self.stack.put(self.bucket, small_images(self.images, prefix="in/", seed=self.images))

    def enqueue(self, model: str = "Fingerprint") -> str:
        """Enqueue all of them. Returns the job's id. ``Hungry`` has no memory for six images."""
        pipeline = self.plugins / f"{model.lower()}.yaml"
        pipeline.write_text(PIPELINE.format(model=model))
        source, size = f"s3://{self.bucket}/in/", str(self.chunk_images)
        return self.stack.enqueue(source, "--chunk-items", size, pipeline=str(pipeline))

    def check(self, job: str, line: Line) -> None:
        """Wait for the job; every image must have the one row of the undisturbed run."""
        self.stack.finish(job)
        verdict = self.stack.auditor.audit(self.bucket, "in/", job)
        line.add(verdict)
        assert verdict.clean, verdict
        assert verdict.statuses["ok"] == self.images, verdict
        assert self._rows(job) == self._undisturbed

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
