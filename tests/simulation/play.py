"""Playing one seed, in surroundings that the product takes for the real ones."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa

from shared import job, locks, parquet, threads
from shared.staging import ring
from tests.simulation.audit import MIN_ROWS_FOR_PERCENT
from tests.simulation.files import Files
from tests.simulation.substitution import PRODUCT, substituted
from tests.simulation.world import World
from workers.preprocess import stage as preprocess_stage

SHARED_MEMORY = Path("/dev/shm")
# Several processes read the same files, over and over: tables do not change.
_decode = lru_cache(maxsize=256)(parquet.decode)

pa.set_cpu_count(1)  # nothing here is large enough to be worth a second thread


def _writing_options(_schema: Any) -> dict[str, Any]:
    """As plain as can be: files of ten rows need not be small."""
    return {"compression": "none", "use_dictionary": False, "write_statistics": False}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one seed ended. ``seconds`` are simulated."""

    seed: int
    wrong: list[str]
    faults: list[str]
    rows: int
    seconds: float


def simulate(seed: int, *, tells: bool = False) -> Outcome:
    """Play one seed; ``tells`` prints its story."""
    with _home() as home:
        world = World(seed, home, tells=tells)
        with _surroundings(world):
            faults = world.run()
    return Outcome(seed, world.audit.wrong, faults, world.audit.rows, world.clock.now)


@contextmanager
def _home() -> Iterator[Path]:
    base = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    home = Path(tempfile.mkdtemp(dir=base, prefix="headrace-simulation-"))
    try:
        yield home
    finally:
        shutil.rmtree(home)


@contextmanager
def _surroundings(world: World) -> Iterator[None]:
    stand_ins, files = world.stand_ins, Files(world.gate)
    loggers = [logging.getLogger(name) for name in PRODUCT]
    for logger in loggers:
        logger.addHandler(world)
        logger.propagate = False
        logger.setLevel(logging.DEBUG if world._tells else logging.ERROR)
    try:
        with (
            substituted(world.clock, world.chance),
            mock.patch.object(job, "MIN_ROWS_FOR_PERCENT", MIN_ROWS_FOR_PERCENT),
            mock.patch.object(parquet, "writing_options", _writing_options),
            mock.patch.object(parquet, "decode", _decode),
            mock.patch.object(locks, "os", files),
            mock.patch.object(locks, "fcntl", files),
            mock.patch.object(locks, "_open", set()),
            mock.patch.object(ring, "holders", return_value={}),
            # A simulated process that dies is not to take this one along.
            mock.patch.object(threads, "_end_process"),
            mock.patch.object(preprocess_stage, "decode_here", stand_ins.decode_here),
            mock.patch.object(preprocess_stage, "decode_in_child", stand_ins.decode_in_child),
        ):
            yield
    finally:
        for logger in loggers:
            logger.removeHandler(world)
