"""A real worker of any role, with a broker and a ledger of its own, to send messages to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import redis
from celery import Celery

from shared.broker.celery_app import make_app
from shared.broker.dead_letters import DeadLetters, connect_dead_letters
from shared.broker.publisher import MessagePublisher
from shared.broker.rabbitmq import RabbitQueues
from shared.ledger import ChunkRef, Ledger, WorkerIdentity, connect_ledger
from shared.messages import Batch, Chunk, Message, Result
from shared.settings import S3Settings, load_settings
from shared.stages import INFERENCE, PREPROCESS, RESULTS, STAGES, Stage, stage_queues
from tests.support import samples
from tests.support.amqp_deliveries import delivery_of
from tests.support.malformed import Target
from tests.support.samples import save_settings
from tests.support.servers import start_valkey
from tests.support.waiting import wait_for
from tests.support.workers.echo_worker import NOWHERE

ROLES = ("preprocess", "inference", "collector")
SAMPLES: dict[str, Callable[..., Chunk | Batch | Result]] = {
    "preprocess": samples.chunk,
    "inference": samples.batch,
    "collector": samples.result,
}


@dataclass
class WorkerHarness:
    """A worker at work, and everything that a test needs to talk to it."""

    role: str
    home: Path
    process: subprocess.Popen[bytes]
    client: redis.Redis
    ledger: Ledger
    letters: DeadLetters
    publisher: MessagePublisher
    target: Target
    app: Celery
    chunks: int = 0

    @property
    def name(self) -> str:
        """What Celery calls the worker."""
        return f"{self.role}-1@{load_settings(self.home).host_id}"

    def queued(self) -> Message:
        """A message whose chunk the ledger holds to be queued for the worker's stage."""
        chunk, self.chunks = self.chunks, self.chunks + 1
        incarnation, uid = samples.INCARNATION, samples.JOB_UID
        _, (ref,) = self.ledger.feed(incarnation, uid, chunk, chunk + 1, bound=100)
        self.pass_on(ref)
        return SAMPLES[self.role](chunk=chunk)

    def pass_on(self, ref: ChunkRef) -> None:
        """From the first stage to the worker's."""
        helper = WorkerIdentity("test", "helper", "testhost")
        stage = {"inference": INFERENCE, "collector": RESULTS}.get(self.role)
        if stage is not None:
            self.ledger.claim(ref, PREPROCESS, helper)
            self.ledger.advance(ref, PREPROCESS, helper, stage, self.target.queue)

    def send(self, message: Message) -> None:
        self.publisher.send(self.target.task, self.target.queue, message)

    def ran(self) -> int:
        """How many chunks the worker is through with."""
        if self.role != "collector":
            return sum(map(self.ledger.queued_count, stage_queues(NOWHERE, "")))
        progress = self.ledger.progress(samples.JOB_UID)
        assert progress is not None
        return progress.done_chunks

    def lies_as(self, raw: bytes) -> bytes:
        """How a message that kombu would put into Redis as ``raw`` lies in this broker."""
        return raw

    @property
    def interactive(self) -> Target:
        """The worker's queue of the interactive lane."""
        host_id = load_settings(self.home).host_id
        queue, _ = stage_queues(_stage_of(self.role), host_id)
        return replace(self.target, queue=queue)

    def push(self, raw: bytes, queue: str = "") -> None:
        """Put bytes into ``queue``, or into the worker's bulk queue."""
        self.client.lpush(queue or self.target.queue, raw)

    def identity(self) -> tuple[Any, ...]:
        """What changes when the worker restarts or connects again."""
        return *self._process(), frozenset(self._connections())

    def _process(self) -> tuple[int, float]:
        process = psutil.Process(self.process.pid)
        return process.pid, process.create_time()

    def _connections(self) -> set[Any]:
        consuming = {c["id"] for c in self.client.client_list() if c["cmd"] == "brpop"}
        if not consuming:  # between two answers
            consuming = wait_for(
                lambda: {c["id"] for c in self.client.client_list() if c["cmd"] == "brpop"},
                what="a connection that waits for messages",
                every=0.001,
            )
        return consuming


class RabbitWorkerHarness(WorkerHarness):
    """A worker that takes from RabbitMQ."""

    @cached_property
    def _queues(self) -> RabbitQueues:
        settings = load_settings(self.home)
        return RabbitQueues(settings.broker_url, settings.ca_file)

    def lies_as(self, raw: bytes) -> bytes:
        return delivery_of(raw).to_raw()

    def push(self, raw: bytes, queue: str = "") -> None:
        self._queues.publish(queue or self.target.queue, delivery_of(raw).as_it_was())

    def _connections(self) -> set[Any]:
        port = urlsplit(load_settings(self.home).broker_url).port
        found = psutil.Process(self.process.pid).net_connections("tcp")
        return {one.laddr for one in found if one.raddr and one.raddr.port == port}


def start(
    directory: Path,
    role: str,
    *arguments: str,
    s3: S3Settings | None = None,
    rabbit_url: str | None = None,
    module: str = "tests.support.workers.echo_worker",
) -> Iterator[WorkerHarness]:
    """A broker and a worker of ``role``, until the generator is closed.

    ``module``: the program that is the worker.
    ``rabbit_url``: a RabbitMQ that runs and is to be the broker, with a Valkey for the ledger.
    """
    valkey = start_valkey(directory / "valkey")
    settings = samples.settings(directory, valkey.url)
    changes = {"s3": s3 or settings.s3, "broker_url": rabbit_url or valkey.url}
    settings = settings.model_copy(update=changes)
    save_settings(settings)
    ledger = connect_ledger(settings)
    ledger.begin(samples.INCARNATION)
    ledger.register_job(samples.INCARNATION, samples.JOB_UID, "job", samples.FIRST_QUEUE)
    process = subprocess.Popen(
        [sys.executable, "-m", module, role, *arguments],
        env={**os.environ, "HEADRACE_HOME": str(directory), "HEADRACE_PROCESS": f"{role}-1"},
        stderr=(directory / "worker.log").open("wb"),
        cwd=Path(__file__).parents[2],
    )
    *_, bulk = stage_queues(_stage_of(role), settings.host_id)
    try:
        wait_for(lambda: ledger.workers(), what="the worker's lease")
        harness = (RabbitWorkerHarness if rabbit_url else WorkerHarness)(
            role,
            directory,
            process,
            redis.Redis.from_url(valkey.url),
            ledger,
            connect_dead_letters(settings),
            MessagePublisher(settings),
            Target(role, bulk, settings.signing_keys[0], SAMPLES[role](chunk=2**30)),
            make_app(settings),
        )
        # A first message, for which the worker connects once more: to send it on.
        harness.send(harness.queued())
        wait_for(lambda: harness.ran() == 1, what="a first message")
        yield harness
    finally:
        process.terminate()
        process.wait(20)
        valkey.stop()


def _stage_of(role: str) -> Stage:
    return next(stage for stage in STAGES.values() if stage.role == role)
