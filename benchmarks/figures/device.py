"""The busy share of a simulated device that the CPU side can just feed."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from benchmarks.figures.bench import PIPELINES, Bench

PIPELINE = str(PIPELINES / "device.yaml")
# Of what the CPU side did alone: its rate moves by some per cent between runs.
JUST_FED = 0.9
PERIOD_SECONDS, GAP_SECONDS = 5.0, 1.0
AT_ONCE = 1e9


def device_busy(bench: Bench) -> dict[str, Any]:
    """A steady supply."""
    rate = JUST_FED * _fed_images_per_second(bench)
    return {**_run(bench, rate), "target_at_least": 0.98}


def device_busy_in_bursts(bench: Bench) -> dict[str, Any]:
    """The store stands still for one second in five, so that images come in bursts.

    What comes on average still just feeds the device.
    """
    share = 1 - GAP_SECONDS / PERIOD_SECONDS
    rate = JUST_FED * share * _fed_images_per_second(bench)
    with _in_bursts(bench):
        found = _run(bench, rate)
    return {
        **found,
        "period_seconds": PERIOD_SECONDS,
        "gap_seconds": GAP_SECONDS,
        "target_at_least": 0.95,
    }


def _fed_images_per_second(bench: Bench) -> float:
    """What the CPU side brings to a device that takes no time."""
    _set(bench, AT_ONCE)
    bench.run(bench.photos, PIPELINE, "--limit", "64")
    bench.run(bench.photos, PIPELINE)
    runs = _runs(bench)[1:]
    return sum(images for _, _, images in runs[1:]) / (runs[-1][1] - runs[0][1])


def _run(bench: Bench, images_per_second: float) -> dict[str, Any]:
    _set(bench, images_per_second)
    manifest = bench.run(bench.photos, PIPELINE)
    runs, first = _runs(bench), _runs(bench)[0][0]
    busy = sum(ended - started for started, ended, _ in runs) / (runs[-1][1] - first)
    return {
        "device_images_per_second": images_per_second,
        "device_busy": busy,
        "device_busy_by_manifest": manifest["device_busy"],
        "runs": [[start - first, end - first, end - start] for start, end, _ in runs],
    }


def _set(bench: Bench, images_per_second: float) -> None:
    """How fast the device is from now on, with an empty note of its runs."""
    runs = bench.stack.home / "device.runs"
    runs.unlink(missing_ok=True)
    told = {"images_per_second": images_per_second, "runs": str(runs)}
    (bench.stack.home / "device.json").write_text(json.dumps(told))


def _runs(bench: Bench) -> list[tuple[float, float, int]]:
    """When each run of the device began and ended, Unix times, and how many images it had."""
    lines = (bench.stack.home / "device.runs").read_text().splitlines()
    return [(float(start), float(end), int(n)) for start, end, n in map(str.split, lines)]


@contextmanager
def _in_bursts(bench: Bench) -> Iterator[None]:
    pids = [p["pid"] for p in bench.stack.json("info")["processes"] if p["role"] == "seaweedfs"]
    stores = [psutil.Process(pid) for pid in pids]
    ended = threading.Event()

    def stall() -> None:
        while not ended.wait(PERIOD_SECONDS - GAP_SECONDS):
            _signal(stores, signal.SIGSTOP)
            ended.wait(GAP_SECONDS)
            _signal(stores, signal.SIGCONT)

    thread = threading.Thread(target=stall)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        process.send_signal(number)
