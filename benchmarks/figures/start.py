"""How soon there is something: after ``up``, and after ``enqueue``."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.figures.bench import Bench
from benchmarks.stack import BUCKET
from shared.keys import chunks_prefix


def up(bench: Bench) -> dict[str, Any]:
    """``up`` until all roles are ready, on a warm disk."""
    bench.stack.run("down")
    started = time.monotonic()
    bench.stack.run("up")
    return {"up_seconds": time.monotonic() - started, "target_at_most": 8.0}


def first_row(bench: Bench, keys: int) -> dict[str, Any]:
    """From ``enqueue``, as it is typed, to the first chunk file, on a warm stack."""
    source, state = f"s3://{BUCKET}/{bench.tiny(keys)}", bench.stack.settings.state_bucket
    bench.run(source, "classify", "--limit", "64")  # loads the model
    started = time.monotonic()
    job = bench.enqueue(source, "classify")
    answered = time.monotonic() - started
    while not next(iter(bench.stack.store.list(state, chunks_prefix(job))), None):
        time.sleep(0.02)
    seconds = time.monotonic() - started
    bench.cancel(job)
    return {
        "keys": keys,
        "enqueue_seconds": answered,
        "first_row_seconds": seconds,
        "target_at_most": 2.0,
    }
