"""What unit tests of several files stand on."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest

from shared.job_store import JobStore
from shared.settings import RingSettings
from shared.staging import NetworkStaging, StagingRing, create_ring, open_ring
from tests.support.fake_engine import FakeEngine, loop_over
from tests.support.fake_network import Parcels
from tests.support.hosted_class import OpenClass, hosted
from tests.support.inference_stages import MakeStage, Noted
from tests.support.memory_store import MemoryStore
from workers.inference.analyst import DeviceAnalyst
from workers.inference.device import DeviceLoop
from workers.inference.engines.python_engine import PythonEngine
from workers.inference.model_types import LoadedModel, ModelKey
from workers.inference.pins import JobPins
from workers.inference.stage import InferenceStage
from workers.inference.suspects import ChildAnalyst, SuspectAnalyst


@pytest.fixture
def open_class() -> Iterator[OpenClass]:
    """Opens users' classes in hosts, and closes them after the test."""
    with ExitStack() as stack:

        def open_one(source: str, name: str = "Own", **options: object) -> PythonEngine:
            engine = hosted(source, name, **options)  # type: ignore[arg-type]
            stack.callback(engine.close)
            return engine

        yield open_one


@pytest.fixture
def mark() -> str:
    """A word that only the processes of this test have in their environment."""
    return uuid.uuid4().hex


@pytest.fixture
def ring(tmp_path: Path) -> StagingRing:
    settings = RingSettings(directory=tmp_path / "ring", slot_bytes=(4096,), slot_counts=(1,))
    create_ring(settings)
    return open_ring(settings, "here")


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def jobs() -> JobStore:
    return JobStore(MemoryStore("state"), "state")


@pytest.fixture
def stopped() -> list[str]:
    """Why jobs were stopped."""
    return []


@pytest.fixture
def make_stage(
    ring: StagingRing, jobs: JobStore, stopped: list[str], noted: Noted
) -> Iterator[MakeStage]:
    loops: list[DeviceLoop] = []

    def make(
        engine: FakeEngine | Callable[[ModelKey], LoadedModel],
        stopping: threading.Event | None = None,
        network: Parcels | None = None,
        patience_seconds: float | None = None,
    ) -> InferenceStage:
        stopping = stopping or threading.Event()
        loops.append(loop_over(engine))
        analyst = DeviceAnalyst(loops[-1], stopping)
        on_trial = SuspectAnalyst(ChildAnalyst(stopping), analyst)
        return InferenceStage(
            *(ring, cast(NetworkStaging, network), analyst, on_trial, JobPins(jobs), noted),
            *(lambda batch, error: stopped.append(error), stopping, patience_seconds),
        )

    yield make
    for loop in loops:
        loop.close()


@pytest.fixture
def noted() -> Noted:
    return Noted()
