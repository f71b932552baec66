"""What the machinery costs beside GET, decode and model."""

from __future__ import annotations

from typing import Any

import psutil

from benchmarks.figures import celery_alone
from benchmarks.figures.bench import Bench
from benchmarks.stack import BUCKET, BenchStack

OBJECTS = 12_800
CHUNK_ITEMS = 64
LARGE_CHUNK_ITEMS = 256
HOPS = 3


def overhead(bench: Bench) -> dict[str, Any]:
    """CPU time by process of a job over empty objects, 64 a chunk, in microseconds an image.

    GET of an empty object and the collector's file for each chunk are in it; only listing, decode
    and model have nothing to do. ``in_large_chunks``: the same with ``--chunk-items 256``.
    ``celery_alone``: three messages a chunk of 64 through a stock worker whose task does nothing,
    on the same broker.
    """
    bench.stack.put((f"empty/{number:06d}.jpg", b"") for number in range(OBJECTS))
    spent, large = _spent(bench, CHUNK_ITEMS), _spent(bench, LARGE_CHUNK_ITEMS)
    alone = celery_alone.microseconds_per_message(bench.stack.settings.broker_url)
    return {
        "microseconds_per_image": spent,
        "total": sum(spent.values()),
        "without_the_store": _ours(spent),
        "in_large_chunks": _ours(large),
        "celery_alone": HOPS * alone / CHUNK_ITEMS,
        "target_at_most": 60,
    }


def _spent(bench: Bench, chunk_items: int) -> dict[str, float]:
    source, options = f"s3://{BUCKET}/empty/", ("--chunk-items", str(chunk_items))
    bench.run(source, "classify", "--limit", str(chunk_items), *options)
    before = cpu_seconds(bench.stack)
    bench.run(source, "classify", *options)
    return {
        name: round(1e6 * (seconds - before[name]) / OBJECTS, 1)
        for name, seconds in cpu_seconds(bench.stack).items()
    }


def _ours(spent: dict[str, float]) -> float:
    return sum(spent[name] for name in spent if name != "seaweedfs")


def cpu_seconds(stack: BenchStack) -> dict[str, float]:
    """User and system time of every process of the stack, by name."""
    processes = stack.json("info")["processes"]
    times = {entry["name"]: psutil.Process(entry["pid"]).cpu_times() for entry in processes}
    return {name: t.user + t.system for name, t in times.items()}
