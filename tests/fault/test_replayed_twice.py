"""Dead letters that are valid now, replayed twice: one row for each image."""

from __future__ import annotations

import os
import signal
from typing import Any

import redis

from shared.broker.dead_letters import DeadLetter, DeadLetters
from shared.broker.redis_queues import RedisQueues
from shared.stages import PREPROCESS, queue_name
from tests.support.injection.table import Line, note
from tests.support.stack import Stack, small_images
from tests.support.waiting import wait_for

BATCH = 8


def test_good_messages_that_are_replayed_twice_give_one_row_each(
    stack: Stack, light: str, full: bool
) -> None:
    images = 3000 if full else 96
    stack.put("replayed", small_images(images, seed=31))
    broker: Any = redis.Redis.from_url(stack.info["broker_url"])
    letters = DeadLetters(broker, RedisQueues.put_back)
    queue = queue_name(PREPROCESS)
    workers = stack.pids("preprocess")
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        job = stack.enqueue("s3://replayed/", "--chunk-items", str(BATCH), pipeline=light)
        # Who is frozen while it waits for a message is still given one.
        waiting = min(images // BATCH, 16) - len(workers)
        wait_for(lambda: broker.llen(queue) >= waiting, what="its first messages")
        for raw in broker.lrange(queue, 0, -1) * 2:
            letters.add(DeadLetter.of(queue=queue, layer="schema", reason="older", raw=raw))
        count = stack.json("dead-letters", "replay", "--all")["count"]
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    status = stack.finish(job)
    verdict = stack.auditor.audit("replayed", "", job)
    line = Line("dead letters replayed twice")
    line.add(verdict)
    line.remark = f"{count} letters of {count // 2} good messages"
    note(line)
    assert count >= 2 * waiting
    assert verdict.clean, verdict
    assert status["images"]["succeeded"] == images
