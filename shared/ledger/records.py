"""What goes into the ledger and comes out of it."""

from __future__ import annotations

import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass, field

from shared.stages import STAGES, Stage

# Of a live entry, as scripts/_prelude.lua writes it.
_LIVE_FIELDS = 8


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """One attempt at one chunk of one job, under one incarnation of the ledger."""

    incarnation: str
    job_uid: str
    chunk: int
    attempt: int

    @property
    def name(self) -> str:
        """How holds and leases name the chunk, whatever the attempt."""
        return f"{self.job_uid} {self.chunk}"


@dataclass(frozen=True, slots=True)
class Claim:
    """A hold on a chunk. ``losses``: how often a holder was lost at this stage before."""

    ref: ChunkRef
    losses: int


@dataclass(frozen=True, slots=True)
class GivenBack:
    """A chunk's new attempt, queued for its job's first stage."""

    ref: ChunkRef
    stage: str
    queue: str


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """One worker process, once: a restarted process is another worker."""

    role: str
    process: str
    host_id: str
    pid: int = field(default_factory=os.getpid)
    nonce: str = field(default_factory=lambda: secrets.token_hex(4))

    @classmethod
    def of_this_process(cls, role: str, host_id: str) -> WorkerIdentity:
        """Under the name that its supervisor gave it, or else its machine's or container's."""
        process = os.environ.get("HEADRACE_PROCESS") or f"{role}-{socket.gethostname()}"
        return cls(role, process, host_id)

    @property
    def name(self) -> str:
        """Unique for ever, and without spaces."""
        return f"{self.process}@{self.host_id}:{self.pid}:{self.nonce}"

    def describe(self, *, stopping: bool = False) -> str:
        """What the ledger keeps about a worker, as JSON."""
        return json.dumps(asdict(self) | ({"stopping": True} if stopping else {}))


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A worker whose lease stands, and the names of the chunks it holds.

    ``stopping``: whether it has stopped taking messages. ``lease_left_seconds``: until its lease
    ends.
    """

    name: str
    role: str
    process: str
    host_id: str
    pid: int
    held: tuple[str, ...]
    stopping: bool = False
    lease_left_seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """Where a chunk is that is not done yet.

    ``state``: queued, held, waiting (to be queued again) or refused (to be given up).
    ``owner``: the queue's name, the name of the worker that holds it, or ``-``.
    ``seconds``: how long it is there by the ledger's clock; an item on trial starts it again.
    """

    job_uid: str
    chunk: int
    state: str
    stage: Stage
    attempt: int
    owner: str
    seconds: float


def read_place(job_uid: str, chunk: str, line: str, now: float) -> ChunkPlace | None:
    """A live entry of the ledger; None where it cannot be read. ``now``: the ledger's Unix time."""
    fields = line.split()
    if len(fields) != _LIVE_FIELDS or fields[1] not in STAGES:
        return None
    state, stage, attempt, owner, *_, since_ms = fields
    seconds = max(0.0, now - int(since_ms) / 1000)
    return ChunkPlace(job_uid, int(chunk), state, STAGES[stage], int(attempt), owner, seconds)


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Hints about a running job. What counts is computed from the rows when it closes."""

    job_uid: str
    job_id: str
    done_chunks: int
    live_chunks: int
    cancelled: bool
    counters: dict[str, float]

    @property
    def seconds(self) -> float:
        """Seconds from the job's opening here to its last finished chunk."""
        start, end = self.counters.get("opened_at_ms"), self.counters.get("last_done_at_ms")
        return (end - start) / 1000 if start and end else 0.0
