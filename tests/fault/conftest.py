"""The seed of the day, and how much of each fault is tried."""

from __future__ import annotations

import datetime
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.auditor import Verdict
from tests.injection.disk import Disk
from tests.injection.outage import kill_for_good
from tests.injection.routing import Routed, routed
from tests.injection.seen import Seen
from tests.stack import Stack, small_images

SEED = os.environ.get("FAULT_SEED") or datetime.datetime.now(datetime.UTC).strftime("%Y%m%d")


def pytest_report_header() -> str:
    return f"fault seed: {SEED} (FAULT_SEED={SEED} draws the same moments again)"


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether all of each fault is tried (``FAULTS=full``), and not one short case."""
    return os.environ.get("FAULTS") == "full"


@pytest.fixture
def draw(request: pytest.FixtureRequest) -> random.Random:
    """Random choices that the seed and the test's name decide."""
    return random.Random(f"{SEED} {request.node.nodeid}")


@dataclass(frozen=True, slots=True)
class Far:
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
            "s3://far/", "--batch-size", str(FAR_BATCH), pipeline=self.seen.pipeline
        )

    def check(self, job: str) -> Verdict:
        """Every image has its one row, with its own label and with no error."""
        verdict = self.stack.auditor.audit("far", "", job)
        assert verdict.clean, verdict
        assert labels_of(self.stack, job) == self.labels
        return verdict


FAR_BATCH = 16


@pytest.fixture(scope="session")
def far(tmp_path_factory: pytest.TempPathFactory, full: bool) -> Iterator[Far]:
    """A stack of its own: faults of broker and store are not to meet other tests' jobs."""
    base = tmp_path_factory.mktemp("far")
    (base / "plugins").mkdir()
    seen = Seen(base / "plugins")
    stack = Stack(base / "home", {"HEADRACE_PLUGINS": str(base / "plugins")})
    with Disk(stack.home / "data" / "seaweedfs") as disk:
        try:
            stack.run("up")
            with routed(stack, random.Random(f"{SEED} proxies")) as proxies:
                images = 5000 if full else 208
                stack.put("far", small_images(images, seed=8))
                job = stack.enqueue("s3://far/", pipeline=seen.pipeline)
                stack.finish(job)
                yield Far(stack, proxies, disk, seen, images, labels_of(stack, job))
                proxies.quiet()
                kill_for_good(stack, "seaweedfs")  # in good order it takes ten seconds
                stack.run("down")
        finally:
            stack.run("down", check=False)


def labels_of(stack: Stack, job: str) -> dict[str, Any]:
    """Each image's label in a job's rows."""
    return {row["key"]: row["label"] for row in stack.rows(job)}
