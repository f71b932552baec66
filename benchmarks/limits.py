"""What one image costs these cores at least: GET, decode and model, each alone.

``python -m benchmarks.limits TASK-AS-JSON`` prints CPU seconds for each image; the store's own
share of a GET is counted too.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil

from benchmarks.peers import decoders
from benchmarks.peers.models import Classifier
from benchmarks.peers.task import Task, task_from_arguments
from shared.settings import load_settings
from shared.storage import resolve_store

SECONDS = 4.0
BATCH_IMAGES = 64
FETCH_THREADS = 16
IMAGES = 500


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """User and system time of this process and of ``processes``."""
    times = [process.cpu_times() for process in processes]
    return time.process_time() + float(sum(t.user + t.system for t in times))


def per_image(work: Callable[[], int], beside: list[psutil.Process]) -> tuple[float, float]:
    """CPU seconds and wall seconds for each image, over some seconds of ``work``."""
    work()
    images, cpu, started = 0, cpu_seconds(beside), time.monotonic()
    while time.monotonic() - started < SECONDS:
        images += work()
    return (cpu_seconds(beside) - cpu) / images, (time.monotonic() - started) / images


def store_processes() -> list[psutil.Process]:
    """The processes of the local store in this home."""
    home = os.environ["HEADRACE_HOME"]
    found = psutil.process_iter(["name", "cwd"])
    return [p for p in found if p.info["name"] == "weed" and p.info["cwd"] == home]


def main() -> None:
    task: Task = task_from_arguments()
    store = resolve_store(load_settings(), task.bucket)
    keys = [info.key for info in store.list(task.bucket, task.prefix)][:IMAGES]
    bodies = [store.get(task.bucket, key) for key in keys]
    decode, classify = decoders.ours(), Classifier(task)
    batch = np.stack([decode(body) for body in bodies[:BATCH_IMAGES]])
    round_robin: Iterator[bytes] = (bodies[i % len(bodies)] for i in range(10**9))

    def get(pool: ThreadPoolExecutor) -> int:
        return len(list(pool.map(lambda key: store.get(task.bucket, key), keys)))

    def decode_some() -> int:
        for _ in range(BATCH_IMAGES):
            decode(next(round_robin))
        return BATCH_IMAGES

    with ThreadPoolExecutor(FETCH_THREADS) as pool:
        costs = {
            "get": per_image(lambda: get(pool), store_processes()),
            "decode": per_image(decode_some, []),
            "model": per_image(lambda: len(classify(batch)), []),
        }
    cores, total = os.cpu_count() or 1, sum(cpu for cpu, _ in costs.values())
    json.dump(
        {
            "cpu_seconds_per_image": {name: cpu for name, (cpu, _) in costs.items()},
            "images_per_second_alone": {name: 1 / wall for name, (_, wall) in costs.items()},
            "combined_limit_images_per_second": cores / total,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
