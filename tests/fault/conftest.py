"""The seed of the day, and how much of each fault is tried."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.injection.extent import FULL, SEED
from tests.injection.fingerprints import Fingerprints
from tests.stack import Stack


def pytest_report_header() -> str:
    return f"fault seed: {SEED} (FAULT_SEED={SEED} draws the same moments again)"


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether all of each fault is tried (``FAULTS=full``), and not one short case."""
    return FULL


@pytest.fixture
def draw(request: pytest.FixtureRequest) -> random.Random:
    """Random choices that the seed and the test's name decide."""
    return random.Random(f"{SEED} {request.node.nodeid}")


@pytest.fixture(scope="session")
def fingerprints(stack: Stack, plugins: Path) -> Fingerprints:
    """Chunks of sixteen images, and what an undisturbed run of them gives."""
    made = Fingerprints(stack, plugins, "fingerprints", images=3008 if FULL else 192)
    made.learn()
    return made
