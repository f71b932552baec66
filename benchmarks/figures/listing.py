"""How fast keys are listed and noted, and what a long listing costs in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import redis

from benchmarks.figures.bench import MIB, Bench
from benchmarks.figures.overhead import cpu_seconds
from benchmarks.figures.sampling import sampled
from benchmarks.stack import BUCKET
from producer.sources.listing import BucketListing

BROKER_SECONDS = 30.0
REAL_ROUNDS = 2


def listing(bench: Bench) -> dict[str, Any]:
    """A listing that costs nothing, to real segments in the store."""
    _, took = bench.listed
    return {
        "keys": bench.keys,
        "keys_per_second": bench.keys / took["seconds"],
        "target_at_least": 50_000,
        "resident_growth_mib": took["resident_growth_mib"],
        "resident_growth_target_at_most_mib": 50,
    }


def broker_memory(bench: Bench) -> dict[str, Any]:
    """The most that the broker uses in half a minute in which a job over those keys runs."""
    job, _ = bench.listed
    broker: Any = redis.Redis.from_url(bench.stack.settings.broker_url)
    used_mib: list[float] = []
    bench.stack.run("scale", "producer=1")
    with sampled(lambda: used_mib.append(broker.info("memory")["used_memory"] / MIB)):
        time.sleep(BROKER_SECONDS)
    images = bench.stack.json("status", job)["images"]
    bench.cancel(job)
    return {
        "keys": bench.keys,
        "images_done_meanwhile": images["succeeded"] + images["failed"],
        "broker_mib": max(used_mib),
        "target_at_most_mib": 64,
    }


def real_listing(bench: Bench, keys: int) -> dict[str, Any]:
    """Objects of the local store: the producer's listing against one serial lister, in turn.

    Store and lister share these cores, so that none is faster than ``cores_limit_keys_per_second``.
    """
    prefix, store = bench.tiny(keys), bench.stack.store
    job = bench.enqueue(f"s3://{BUCKET}/{prefix}", "classify", "--limit", "1")
    spec, serial, ours, cpu = bench.jobs.spec(job), float("inf"), float("inf"), 0.0
    for _ in range(REAL_ROUNDS):
        serial = min(serial, _seconds(store.list(BUCKET, prefix)))
        before = _cpu_seconds(bench)
        ours = min(ours, _seconds(iter(BucketListing(store, spec))))
        cpu = _cpu_seconds(bench) - before
    return {
        "keys": keys,
        "serial_keys_per_second": keys / serial,
        "keys_per_second": keys / ours,
        "ratio": serial / ours,
        "target_at_least": 3.0,
        "cores_limit_keys_per_second": (os.cpu_count() or 1) * keys / cpu,
    }


def _seconds(listed: Iterator[object]) -> float:
    started = time.monotonic()
    for _ in listed:
        pass
    return time.monotonic() - started


def _cpu_seconds(bench: Bench) -> float:
    """Of the store and of this process."""
    return cpu_seconds(bench.stack)["seaweedfs"] + time.process_time()
