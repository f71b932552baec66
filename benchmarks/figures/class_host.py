"""What it costs that a user's class has a process of its own."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures.bench import Bench
from shared.model import EngineName, Model, Precision
from workers.inference.device import DeviceLoop
from workers.inference.engines import Engine, Images, Outputs
from workers.inference.engines.python_engine import PythonEngine
from workers.inference.model_types import LoadedModel, ModelKey
from workers.inference.models import LoadedModels

IMAGES, PIXELS = 64, 224
ROUNDS, BATCHES = 15, 40
SUBMITTERS = 3
SOURCE = """
class Nothing:
    def __call__(self, images):
        return [("nothing", 1.0)] * len(images)
"""
MODEL = {
    **{"name": "nothing", "python_class": "nothing:Nothing"},
    **{"sha256": "0" * 64, "code_sha256": "0" * 64},
}


class InProcess:
    """Calls the class in the worker's process, with a copy of the pixels, as before hosts."""

    name: EngineName = "python"
    precision: Precision | None = None
    device = "cpu"

    def run(self, images: Images) -> Outputs:
        return list([("nothing", 1.0)] * len(np.array(images)))

    def close(self) -> None:
        return


def class_host(_: Bench) -> dict[str, Any]:
    """Milliseconds for a batch of 64 images of 224², in a host and in the worker's process.

    ``alone``: the next batch is submitted when the one before is back. ``in_a_row``: three threads
    submit. Both kinds take turns; each figure is the median of its rounds.
    """
    key = ModelKey(Model.model_validate(MODEL), "auto", "auto", (PIXELS, PIXELS))
    folder = Path(tempfile.mkdtemp(prefix="headrace-class-"))
    (folder / "code").mkdir()
    (folder / "code" / "nothing.py").write_text(SOURCE)
    engines: dict[str, Engine] = {
        "host": PythonEngine("nothing:Nothing", folder, {"PATH": os.environ["PATH"]}, 60),
        "in_process": InProcess(),
    }
    loops = {name: _loop(engine) for name, engine in engines.items()}
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, PIXELS, PIXELS, 3), np.uint8)
    found: dict[str, dict[str, list[float]]] = {}
    for _round in range(ROUNDS):
        for name, loop in loops.items():
            submit = partial(_submit, loop, key, images)
            for way, threads in (("alone", 1), ("in_a_row", SUBMITTERS)):
                milliseconds = _milliseconds_a_batch(submit, threads)
                found.setdefault(way, {}).setdefault(name, []).append(milliseconds)
    for loop in loops.values():
        loop.close()
    medians = {
        way: {name: round(statistics.median(all_), 3) for name, all_ in by_name.items()}
        for way, by_name in found.items()
    }
    more = max(each["host"] - each["in_process"] for each in medians.values())
    return {"milliseconds_a_batch": medians, "more": round(more, 3), "target_at_most": 1.0}


def _loop(engine: Engine) -> DeviceLoop:
    return DeviceLoop(LoadedModels(lambda _: LoadedModel(engine)), submitters=SUBMITTERS)


def _submit(loop: DeviceLoop, key: ModelKey, images: Images, _: int) -> None:
    loop.submit(key, images).result()


def _milliseconds_a_batch(submit: Callable[[int], Any], threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        list(pool.map(submit, range(BATCHES)))
        return (time.perf_counter() - started) * 1000 / BATCHES
