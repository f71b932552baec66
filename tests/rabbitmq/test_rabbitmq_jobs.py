"""Whole jobs with RabbitMQ as the broker: one row for each image, whatever is killed or wiped."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import amqp
import pytest

from shared.broker.rabbitmq import RabbitAddress, RabbitQueues
from shared.stages import PREPROCESS, RESULTS, queue_name
from tests.rabbitmq.conftest import BATCH, IMAGES, Ground
from tests.support.amqp_deliveries import OWN, delivery_of
from tests.support.injection.watch import Watch
from tests.support.malformed import CASES, Target
from tests.support.samples import chunk
from tests.support.stack import chunks_of
from tests.support.waiting import wait_for

CHUNKS = chunks_of(IMAGES, BATCH)
AWAY_SECONDS = 3
# Generous: all are at work again within seconds.
MAX_PAUSE_SECONDS = 60.0


def kill(role: str) -> Callable[[Ground], None]:
    def strike(ground: Ground) -> None:
        for pid in ground.stack.pids(role):
            os.kill(pid, signal.SIGKILL)

    return strike


def restart(ground: Ground) -> None:
    ground.rabbit.kill()
    time.sleep(AWAY_SECONDS)
    ground.rabbit.start()


def come_back_empty(ground: Ground) -> None:
    ground.rabbit.kill()
    ground.rabbit.wipe()
    ground.rabbit.start()


def delete_queues(ground: Ground) -> None:
    address = RabbitAddress.of(ground.rabbit.url)
    with amqp.Connection(address.place, address.user, address.password) as connection:
        channel = connection.channel()
        for queue in ground.stack.info["queues"]:
            channel.queue_delete(queue["name"])


FAULTS = {
    "SIGKILL preprocess": kill("preprocess"),
    "SIGKILL inference": kill("inference"),
    "SIGKILL collector": kill("collector"),
    "SIGKILL producer": kill("producer"),
    "RabbitMQ killed and restarted": restart,
    "RabbitMQ comes back empty": come_back_empty,
    "queues deleted": delete_queues,
}


def finish(ground: Ground, job: str) -> None:
    """The job's end, judged."""
    status = ground.stack.finish(job)
    verdict = ground.stack.auditor.audit("inputs", "in/", job)
    assert verdict.clean, verdict
    assert status["images"]["succeeded"] == IMAGES


def test_a_job_runs_and_all_who_look_see_it(ground: Ground) -> None:
    finish(ground, ground.enqueue())
    with closing(RabbitQueues(ground.rabbit.url, None)) as queues:
        lengths = [queues.length(queue["name"]) for queue in ground.stack.info["queues"]]
    assert lengths == [0] * 6
    checks = {check["name"]: check for check in ground.stack.json("doctor")["checks"]}
    assert checks["broker"]["detail"].startswith("RabbitMQ ")
    assert not [check for check in checks.values() if check["state"] == "failed"]

    def workers() -> dict[str, Any]:
        return dict(ground.stack.flower("/api/workers?refresh=1"))

    names = wait_for(lambda: found if len(found := workers()) >= 3 else None, what="Flower's view")
    roles = {name.partition("@")[0].rpartition("-")[0] for name in names}
    assert roles == {"preprocess", "inference", "collector"}


def test_up_says_in_one_line_that_the_broker_does_not_take_it(ground: Ground) -> None:
    """Asked of the stack that is up, which goes on, as all tests below show."""
    wrong = ground.rabbit.url.replace("@", "x@")
    stack = ground.stack
    spoiled = type(stack)(stack.home, {**stack.environment, "HEADRACE_BROKER_URL": wrong})
    done = spoiled.run("up", check=False)
    assert done.returncode == 1
    assert "the name or the password is wrong" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_middle_of_a_job_costs_seconds_and_no_row(
    ground: Ground, fault: str
) -> None:
    job = ground.enqueue()
    with Watch(ground.stack, job) as watch:
        wait_for(lambda: watch.chunks >= CHUNKS // 5, what="a fifth of it", deadline_seconds=60)
        struck = time.monotonic()
        FAULTS[fault](ground)
        back = time.monotonic()
        assert watch.chunks < CHUNKS, "the job was over before"
        finish(ground, job)
        pause, after = watch.longest_pause_seconds(struck), watch.first_after_seconds(back)
    print(f"{fault}: at most {pause:.1f} s without a chunk, {after:.1f} s from when it was over")
    assert after < MAX_PAUSE_SECONDS


def test_malformed_messages_in_the_middle_of_a_job_are_kept_and_can_be_replayed(
    ground: Ground,
) -> None:
    stack = ground.stack
    before = stack.json("info")["processes"]
    job = ground.enqueue()
    raws = [
        case.make(Target("preprocess", queue, "a key of somebody else's", chunk()))
        for queue in (queue_name(PREPROCESS), queue_name(RESULTS))
        for case in (*OWN.values(), CASES["signature: invented"], CASES["compression: a bomb"])
    ]
    with closing(RabbitQueues(ground.rabbit.url, None)) as queues:
        for number, raw in enumerate(raws):
            queue = (queue_name(PREPROCESS), queue_name(RESULTS))[number * 2 // len(raws)]
            queues.publish(queue, delivery_of(raw).as_it_was())
    finish(ground, job)
    found = wait_for(
        lambda: all_of if len(all_of := stack.json("dead-letters", "list")) == len(raws) else None,
        what="all of them among the dead letters",
    )
    assert {letter["replays"] for letter in found} == {0}
    shown = stack.json("dead-letters", "show", found[0]["id"])
    assert shown["size"] > 0

    assert stack.json("dead-letters", "replay", "--all") == {"count": len(raws)}
    again = wait_for(
        lambda: all_of if len(all_of := stack.json("dead-letters", "list")) == len(raws) else None,
        what="all of them again",
    )
    assert {letter["replays"] for letter in again} == {1}
    assert {letter["id"] for letter in again}.isdisjoint(letter["id"] for letter in found)
    assert stack.json("info")["processes"] == before
    stack.run("dead-letters", "purge", "--yes")
