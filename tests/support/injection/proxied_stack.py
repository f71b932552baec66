"""A stack behind proxies, and what an undisturbed run of its bucket gives."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.auditor import Verdict
from tests.support.injection.disk import Disk
from tests.support.injection.recording_model import Seen
from tests.support.injection.routing import Routed
from tests.support.stack import Stack

BATCH = 16


@dataclass(frozen=True, slots=True)
class ProxiedStack:
    """A stack behind proxies, with one bucket and the label that each of its images should get."""

    stack: Stack
    proxies: Routed
    disk: Disk
    seen: Seen
    images: int
    labels: dict[str, str]

    def enqueue(self) -> str:
        """A job over all of the bucket."""
        return self.stack.enqueue(
            "s3://far/", "--chunk-items", str(BATCH), pipeline=self.seen.pipeline
        )

    def check(self, job: str) -> Verdict:
        """Every image has its one row, with its own label and with no error."""
        verdict = self.stack.auditor.audit("far", "", job)
        assert verdict.clean, verdict
        assert labels_of(self.stack, job) == self.labels
        return verdict


def labels_of(stack: Stack, job: str) -> dict[str, str]:
    """Each image's label in a job's rows."""
    return {row["key"]: row["label"] for row in stack.rows(job)}
