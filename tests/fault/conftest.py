"""The seed of the day, how much of each fault is tried, and the stacks that are struck."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support.injection.disk import Disk
from tests.support.injection.extent import FULL, SEED
from tests.support.injection.fingerprints import Fingerprints
from tests.support.injection.outage import kill_for_good
from tests.support.injection.post_mortem import post_mortem
from tests.support.injection.proxied_stack import ProxiedStack, labels_of
from tests.support.injection.recording_model import Seen
from tests.support.injection.routing import routed
from tests.support.injection.table import note_end
from tests.support.stack import Stack, small_images


def pytest_report_header() -> str:
    return f"fault seed: {SEED} (FAULT_SEED={SEED} draws the same moments again)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note for the table how each test ended, and with a failure what its stack was doing."""
    report = yield
    if report.failed:
        if stack := item.funcargs.get("stack"):
            report.sections.append(("the stack", post_mortem(stack)))
        crash = getattr(report.longrepr, "reprcrash", None)
        text = crash.message if crash else str(report.longrepr)
        note_end(report.nodeid, f"{report.when}: {text.splitlines()[0][:200]}")
    elif report.when == "call":
        note_end(report.nodeid, None)
    return report


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether all of each fault is tried (``FAULTS=full``), and not one short case."""
    return FULL


@pytest.fixture
def draw(request: pytest.FixtureRequest) -> random.Random:
    """Random choices that the seed and the test's name decide."""
    return random.Random(f"{SEED} {request.node.nodeid}")


@pytest.fixture(scope="session")
def light(plugins: Path) -> str:
    """A pipeline for ``stack`` that infers next to nothing, where that is not what is struck."""
    path = plugins / "light.yaml"
    path.write_text("model: {python: 'shape:Shape'}\n")
    return str(path)


@pytest.fixture(scope="session")
def palettes(plugins: Path) -> str:
    """A pipeline for ``stack`` that needs no device."""
    path = plugins / "palettes.yaml"
    path.write_text("analyses: {colours: {kind: palette, count: 3}}\n")
    return str(path)


@pytest.fixture(scope="session")
def boxes(plugins: Path) -> str:
    """A pipeline for ``stack`` that gives two boxes for each image, from a class."""
    (plugins / "halves.py").write_text(_HALVES)
    path = plugins / "boxes.yaml"
    path.write_text(
        "analyses:\n  objects:\n    kind: boxes\n    model: {python: 'halves:Halves'}\n"
        "    view: {kind: letterbox, width: 64, height: 64}\n"
    )
    return str(path)


_HALVES = """
class Halves:
    def __call__(self, images):
        height, width = images[0].shape[:2]
        left = ("left", 0.9, 0, 0, width / 2, height)
        right = ("right", 0.8, width / 2, 0, width, height)
        return [[left, right] for _ in images]
"""


@pytest.fixture(scope="session")
def fingerprints(stack: Stack, plugins: Path) -> Fingerprints:
    """Chunks of sixteen images, and what an undisturbed run of them gives."""
    made = Fingerprints(stack, plugins, "fingerprints", images=3008 if FULL else 192)
    made.learn()
    return made


@pytest.fixture(scope="session")
def proxied(tmp_path_factory: pytest.TempPathFactory, full: bool) -> Iterator[ProxiedStack]:
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
                yield ProxiedStack(stack, proxies, disk, seen, images, labels_of(stack, job))
                proxies.quiet()
                kill_for_good(stack, "seaweedfs")  # in good order it takes ten seconds
                stack.run("down")
        finally:
            stack.run("down", check=False)
