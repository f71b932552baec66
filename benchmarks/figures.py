"""Figures of Headrace alone: ``python -m benchmarks.figures --keys 10000000``.

Each names its target. Writes ``benchmarks/results/figures.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import redis

from benchmarks.__main__ import photos
from benchmarks.machine import machine
from benchmarks.stack import BUCKET, ROOT, BenchStack
from producer.lister import Lister
from shared.job_store import JobStore
from shared.messages import Item
from shared.settings import load_settings
from shared.storage import resolve_store

PIPELINES = ROOT / "benchmarks" / "pipelines"
MIB = 2**20
EMPTY_OBJECTS = 12_800


def up(stack: BenchStack) -> dict[str, float]:
    """``up`` until all roles are ready, on a warm disk."""
    stack.run("up")
    stack.run("down")
    started = time.monotonic()
    stack.run("up")
    return {"up_seconds": time.monotonic() - started, "target_at_most": 8.0}


def first_row(stack: BenchStack, prefix: str) -> dict[str, float]:
    """From ``enqueue``, as it is typed, to the first chunk file, on a warm stack."""
    source = f"s3://{BUCKET}/{prefix}"
    stack.json("enqueue", source, "--pipeline", "classify", "--limit", "64", "--wait")
    started = time.monotonic()
    job = stack.json("enqueue", source, "--pipeline", "classify")["job_id"]
    answered = time.monotonic() - started
    while not stack.s3.list_objects_v2(Bucket="state", Prefix=f"jobs/{job}/chunks/")["KeyCount"]:
        time.sleep(0.02)
    seconds = time.monotonic() - started
    stack.run("cancel", job, "--yes")
    return {"enqueue_seconds": answered, "first_row_seconds": seconds, "target_at_most": 2.0}


def overhead(stack: BenchStack) -> dict[str, Any]:
    """CPU of everything but GET, decode and model: a job over empty objects, 64 a chunk.

    The collector's file for each chunk is in it too.
    """
    for number in range(EMPTY_OBJECTS):
        stack.s3.put_object(Bucket=BUCKET, Key=f"empty/{number:06d}.jpg", Body=b"")
    source = f"s3://{BUCKET}/empty/"
    stack.json("enqueue", source, "--pipeline", "classify", "--limit", "64", "--wait")
    before = cpu_seconds(stack)
    job = stack.json("enqueue", source, "--pipeline", "classify")["job_id"]
    while not stack.output_manifest_or_none(job):
        time.sleep(0.2)
    after = cpu_seconds(stack)
    spent = {
        name: round(1e6 * (after[name] - before.get(name, 0.0)) / EMPTY_OBJECTS, 1)
        for name in after
    }
    return {"microseconds_per_image": spent, "total": sum(spent.values()), "target_at_most": 60}


def cpu_seconds(stack: BenchStack) -> dict[str, float]:
    """User and system time of every process of the stack, by name."""
    pids = {process["name"]: process["pid"] for process in stack.json("info")["processes"]}
    for process in psutil.process_iter(["name", "cwd"]):
        if process.info["cwd"] == str(stack.home) and process.info["name"].startswith("weed"):
            pids.setdefault("seaweedfs", process.pid)
        if process.info["name"].startswith("valkey") and str(stack.home) in str(process.cwd()):
            pids.setdefault("valkey", process.pid)
    times = {name: psutil.Process(pid).cpu_times() for name, pid in pids.items()}
    return {name: t.user + t.system for name, t in times.items()}


def device_busy(stack: BenchStack, prefix: str) -> dict[str, float]:
    """The busy share of a device that takes a fixed time, which the CPU side can just feed."""
    source, pipeline = f"s3://{BUCKET}/{prefix}", str(PIPELINES / "device.yaml")
    job = stack.json("enqueue", source, "--pipeline", pipeline, "--wait")
    rate = float(os.environ.get("SIMULATED_IMAGES_PER_SECOND", "300"))
    return {
        "device_images_per_second": rate,
        "device_busy": job["device_busy"],
        "target_at_least": 0.98,
    }


def listing(stack: BenchStack, keys: int) -> dict[str, float]:
    """A listing that costs nothing, to real segments in the store; then the job runs on them."""
    stack.run("scale", "producer=0")
    job = stack.json("enqueue", f"s3://{BUCKET}/nothing/", "--pipeline", "classify")["job_id"]
    settings = load_settings(stack.home, "settings.json")
    jobs = JobStore(resolve_store(settings, settings.state_bucket), settings.state_bucket)
    resident_mib, ended = [psutil.Process().memory_info().rss / MIB], threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            resident_mib.append(psutil.Process().memory_info().rss / MIB)

    threading.Thread(target=watch, daemon=True).start()
    started = time.monotonic()
    Lister(jobs.spec(job), jobs, lambda: Keys(keys), stack.home / "data").run()
    seconds = time.monotonic() - started
    ended.set()
    tenth = len(resident_mib) // 10 + 1
    broker_mib = broker_memory(stack, job)
    return {
        "keys": keys,
        "keys_per_second": keys / seconds,
        "target_at_least": 50_000,
        "resident_growth_mib": max(resident_mib) - resident_mib[tenth],
        "resident_growth_target_at_most_mib": 50,
        "broker_mib_while_the_job_runs": broker_mib,
        "broker_target_at_most_mib": 64,
    }


class Keys:
    """A listing of so many keys, made up as it is read."""

    def __init__(self, count: int) -> None:
        self.skipped = 0
        self._count = count

    def __iter__(self) -> Iterator[Item]:
        for number in range(self._count):
            key = f"nothing/{number % 1000:03d}/{number:09d}.jpg"
            yield Item(key=key, etag="d41d8cd98f00b204e9800998ecf8427e", size=1)


def broker_memory(stack: BenchStack, job: str) -> float:
    """The most that the broker used in half a minute of the job."""
    stack.run("scale", "producer=1")
    client: Any = redis.Redis.from_url(stack.info["broker_url"])
    most, deadline = 0.0, time.monotonic() + 30
    while time.monotonic() < deadline:
        most = max(most, client.info("memory")["used_memory"] / MIB)
        time.sleep(0.5)
    stack.run("cancel", job, "--yes")
    return most


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.figures", description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--only", nargs="*")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        work = Path(folder)
        stack = BenchStack(work / "home")
        report: dict[str, Any] = {"machine": machine()}
        try:
            report["up"] = up(stack)
            stack.run("models", "pull", "mobilenet_v2")
            stack.s3.create_bucket(Bucket=BUCKET)
            prefix = stack.fill(photos(given.photos, work), given.images)
            figures: dict[str, Callable[[], dict[str, Any]]] = {
                "first_row": lambda: first_row(stack, prefix),
                "overhead": lambda: overhead(stack),
                "device_busy": lambda: device_busy(stack, prefix),
                "listing": lambda: listing(stack, given.keys),
            }
            for name in given.only or figures:
                report[name] = figures[name]()
                print(name, json.dumps(report[name]), file=sys.stderr, flush=True)
        finally:
            stack.run("down")
    results = ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    (results / "figures.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
