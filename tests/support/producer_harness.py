"""A producer's surroundings: a real ledger, stores in memory, and a broker of plain lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from producer.lead.leader import RESCUE_SECONDS, Leader
from producer.sources.listing import BucketListing
from shared.errors import TransientError
from shared.job import JobSpec
from shared.job_store import JobStore
from shared.keys import chunk_key
from shared.ledger import Ledger, WorkerIdentity
from shared.manifest import ManifestReader
from shared.messages import Chunk, Message
from shared.settings import Settings
from shared.stages import INFERENCE, PREPROCESS, RESULTS, queue_name
from tests.support import samples
from tests.support.memory_store import MemoryStore
from tests.support.waiting import wait_for

FIRST, SECOND, THIRD = (
    queue_name(PREPROCESS),
    queue_name(INFERENCE, host="testhost"),
    queue_name(RESULTS),
)
BOUND = 4
LEASE_SECONDS = 2.0
WORKER = WorkerIdentity("preprocess", "p-1", "testhost", pid=1, nonce="1")


@dataclass
class ListBroker:
    """The broker as plain lists of Valkey; ``is_down`` makes it refuse."""

    client: Any
    is_down: bool = False
    sent: Counter[tuple[str, int, int]] = field(default_factory=Counter)

    def send(self, task: str, queue: str, message: Message) -> None:
        if self.is_down:
            raise TransientError("broker_unavailable", "The broker does not answer.")
        assert (task, queue) in ((PREPROCESS.task, FIRST), (RESULTS.task, THIRD))
        self.sent[message.job_uid, message.chunk, message.attempt] += 1
        self.client.rpush(queue, message.model_dump_json())

    def ready_length(self, queue: str) -> int:
        return int(self.client.llen(queue))

    def discard(self, queue: str) -> None:
        self.client.delete(queue)

    def take(self, queue: str = FIRST) -> Chunk | None:
        text = self.client.lpop(queue)
        return Chunk.model_validate_json(text) if text else None


@dataclass
class ProducerHarness:
    """Stores, ledger and broker of a few jobs, and the means to lead them."""

    settings: Settings
    client: Any
    ledger: Ledger
    now: float = 1000.0
    store: MemoryStore = field(default_factory=lambda: MemoryStore("state", "input"))
    leaders: list[Leader] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.broker = ListBroker(self.client)
        self.jobs = JobStore(self.store, "state")

    def lead(self) -> Leader:
        leader = Leader(
            self.settings,
            self.jobs,
            lambda spec: BucketListing(self.store, spec),
            self.ledger,
            self.broker,
            clock=lambda: self.now,
        )
        self.leaders.append(leader)
        return leader

    def add_job(self, chunks: int, job_id: str = "job", **changes: object) -> JobSpec:
        """A job of ``chunks`` chunks of two images, the first of one, over a prefix of its own."""
        fields = {
            "job_id": job_id,
            "bucket": "input",
            "prefix": f"{job_id}/",
            "output_bucket": "results",
            "chunk_items": 2,
            "pipeline": samples.pipeline(),
            "pipeline_sha256": "",
            "headrace_version": "0",
        }
        spec = JobSpec.model_validate({**fields, **changes})
        for number in range(spec.items_before(chunks)):
            self.store.put("input", f"{job_id}/{number:04d}.jpg", b"x")
        self.jobs.create_spec(spec)
        self.ledger.hint(job_id)
        return spec

    def tick(self, leader: Leader, times: int = 1) -> None:
        for _ in range(times):
            leader.tick()

    def until(self, leader: Leader, condition: Callable[[], object], what: str) -> None:
        """Tick, with the clock standing still, until the condition holds."""

        def ticked() -> object:
            leader.tick()
            return condition()

        wait_for(ticked, what=what, deadline_seconds=10, every=0.01)

    def fill(self, leader: Leader) -> None:
        self.until(leader, lambda: self.queued() == BOUND, "the queue at its bound")
        self.until(leader, self.sealed, "the seal")

    def pass_time(self, leader: Leader, seconds: float) -> None:
        """Tick at every second of it."""
        for _ in range(int(seconds / RESCUE_SECONDS)):
            self.now += RESCUE_SECONDS
            leader.tick()

    def sealed(self, job_id: str = "job") -> bool:
        return ManifestReader(self.store, "state", job_id).seal() is not None

    def queued(self) -> int:
        return self.ledger.queued_count(FIRST)

    def attempts(self) -> set[int]:
        return {attempt for _, _, attempt in self.broker.sent}

    def claim(self) -> Chunk:
        """Take a message, and the chunk with it."""
        message = self.broker.take()
        assert message is not None
        self.ledger.claim(message.ref, PREPROCESS, WORKER)
        return message

    def stage(self) -> Chunk:
        """Take a chunk through preprocessing: its batch waits for the inference worker."""
        message = self.claim()
        self.ledger.advance(message.ref, PREPROCESS, WORKER, INFERENCE, SECOND)
        self.client.rpush(SECOND, message.model_dump_json())
        return message

    def finish(self, message: Chunk, counters: dict[str, float] | None = None) -> None:
        """From held(preprocess) to done, with its chunk file."""
        ref = message.ref
        self.ledger.advance(ref, PREPROCESS, WORKER, RESULTS, THIRD)
        self.ledger.claim(ref, RESULTS, WORKER)
        self.store.put("state", chunk_key(message.job_id, message.chunk), b"rows")
        self.ledger.finish(ref, WORKER, counters or {})
