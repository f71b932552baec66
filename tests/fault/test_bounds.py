"""With nobody to infer, everything waits at its bound, and goes on when somebody comes."""

from __future__ import annotations

import time
from typing import Any

import psutil
import redis

from shared.settings import load_settings
from shared.staging import Layout
from tests.support.injection.extent import FULL, JOB_SECONDS
from tests.support.injection.table import Line, note
from tests.support.stack import Stack, small_images
from tests.support.waiting import wait_for

# In the short case just enough chunks for all slots and a whole queue, and as many to wait.
IMAGES, BATCH = (5000, 64) if FULL else (1000, 16)
STEADY_LOOKS = 8
HOLD_SECONDS = 60.0 if FULL else 15.0


def queue_lengths(stack: Stack) -> dict[str, int]:
    broker: Any = redis.Redis.from_url(stack.info["broker_url"])
    bulk = [queue for queue in stack.info["queues"] if queue["lane"] == "bulk"]
    return {queue["role"]: broker.llen(queue["name"]) for queue in bulk}


def memory_bytes(stack: Stack) -> int:
    return sum(
        psutil.Process(pid).memory_info().rss - psutil.Process(pid).memory_info().shared
        for role in ("producer", "preprocess", "collector")
        for pid in stack.pids(role)
    )


def test_nothing_grows_while_the_inference_worker_is_away(stack: Stack, light: str) -> None:
    stack.put("bounds", small_images(IMAGES, seed=1))
    once = stack.enqueue("s3://bounds/", "--limit", "500", pipeline=light)
    stack.finish(once)  # everything is loaded now
    stack.run("scale", "inference=0")
    try:
        job = stack.enqueue("s3://bounds/", "--chunk-items", str(BATCH), pipeline=light)
        settings = load_settings(stack.home)
        slots = len(Layout.of(settings.ring).places)
        ledger: Any = redis.Redis.from_url(settings.ledger_url, decode_responses=True)

        def stuck() -> bool:
            lengths = queue_lengths(stack)
            return (
                lengths["inference"] > 0
                and lengths["preprocess"] == settings.preprocess_queue_chunks
            )

        wait_for(stuck, what="the queues at their bounds", deadline_seconds=JOB_SECONDS)
        seen: list[dict[str, int]] = []

        def settled() -> bool:
            """The last slots are being filled until nothing has changed for a while."""
            seen.append(queue_lengths(stack))
            return len(seen) > STEADY_LOOKS and all(s == seen[-1] for s in seen[-STEADY_LOOKS:])

        wait_for(settled, what="queues that stand still", deadline_seconds=60, every=1)
        lengths, memory = queue_lengths(stack), memory_bytes(stack)
        assert lengths["inference"] <= slots
        until = time.monotonic() + HOLD_SECONDS
        while time.monotonic() < until:
            assert queue_lengths(stack) == lengths
            time.sleep(1)
        grown = memory_bytes(stack) - memory
        print(f"\nqueues {lengths}, slots {slots}, {memory >> 20} MiB, grown by {grown >> 10} KiB")
        assert grown < 32 * 2**20
        (uid,) = ledger.smembers("hr:jobs")
        attempts = {line.split()[2] for line in ledger.hvals(f"hr:{uid}:live")}
        assert attempts == {"1"}, "a chunk was sent again though nothing was lost"
    finally:
        stack.run("scale", "inference=1")  # other tests share the stack
    assert stack.finish(job)["images"]["succeeded"] == IMAGES
    verdict = stack.auditor.audit("bounds", "", job)
    line = Line("Nobody infers for a while: everything waits at its bound")
    line.add(verdict)
    line.remark = f"{HOLD_SECONDS:.0f} s, grown by {grown >> 10} KiB"
    note(line)
    assert verdict.clean, verdict
