"""The ledger's transitions, each one script that compares and sets.

A script that finds another incarnation, job, attempt, state or holder changes nothing and answers
``Stale``: the message or the worker in question is merely late. See ARCHITECTURE.md for the states.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.broker.errors import FAILURES, no_answer
from shared.broker.redis_client import redis_client
from shared.ledger.records import (
    ChunkPlace,
    ChunkRef,
    Claim,
    GivenBack,
    JobProgress,
    LiveWorker,
    WorkerIdentity,
    read_place,
)
from shared.settings import Settings
from shared.stages import STAGES, VERSION, QueueInfo, Stage, last_stage

_T = TypeVar("_T")
_SCRIPTS = Path(__file__).parent / "scripts"

# So many dead letters that carried our signature end a chunk.
MAX_REFUSALS = 3
# Of a job's hash.
_NO_COUNTERS = {"job_id", "cancelled", "first_stage", "first_queue"}


class Stale(Exception):
    """The chunk has moved on. ``reason``: incarnation, job, cancelled, done, attempt or state."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@cache
def _script_text(name: str) -> str:
    return (_SCRIPTS / "_prelude.lua").read_text() + (_SCRIPTS / f"{name}.lua").read_text()


class Ledger:
    """One connection to the ledger. Thread-safe. Every method may raise TransientError.

    ``pause_seconds``: how long a chunk's second rescue waits; each further one waits twice as long,
    up to thirty times this.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        lease_seconds: float = 6.0,
        pause_seconds: float = 2.0,
    ) -> None:
        self._client: Any = client  # redis-py's types promise more than they know
        self._lease_ms = int(lease_seconds * 1000)
        self._pause_ms = int(pause_seconds * 1000)
        self._scripts: dict[str, Any] = {}

    def incarnation(self) -> str | None:
        """The id that this ledger was born with; None where it is empty or of another layout."""
        value, layout = self._call(lambda: self._client.mget("hr:incarnation", "hr:layout"))
        return str(value) if value and layout == VERSION else None

    def begin(self, incarnation: str) -> str:
        """Give a new ledger its id. Returns the id that stands, ours or an earlier one.

        A ledger of another layout is deleted with that, all but who leads.
        """
        keys = self._call(lambda: set(self._client.scan_iter("hr:*", count=1000)))
        old = sorted(keys - {"hr:leader"}) if "hr:incarnation" in keys else []
        return str(self._run("begin", incarnation, VERSION, *old))

    def register_job(
        self,
        incarnation: str,
        job_uid: str,
        job_id: str,
        first: QueueInfo,
        done: Iterable[int] = (),
    ) -> None:
        """Make a job known, with the chunks that the bucket shows to be done. Idempotent.

        Its chunks begin, and begin again, on the queue ``first``. Of those that are done, only what
        somebody holds stays as it is, until its holder finishes it.
        """
        chunks = ",".join(map(str, done))
        self._checked(
            "register_job", incarnation, job_uid, job_id, first.stage.name, first.name, chunks
        )

    def feed(
        self,
        incarnation: str,
        job_uid: str,
        first: int,
        end: int,
        *,
        bound: int,
        most: int = 2**31,
    ) -> tuple[int, list[ChunkRef]]:
        """Queue up to ``most`` new chunks of ``[first, end)``, the first queue below ``bound``.

        Returns the next cursor and the chunks queued; their messages are the caller's to send.
        """
        answer = self._checked("feed", incarnation, job_uid, first, end, bound, most)
        pairs = zip(answer[1::2], answer[2::2], strict=True)
        return int(answer[0]), [
            ChunkRef(incarnation, job_uid, int(chunk), int(attempt)) for chunk, attempt in pairs
        ]

    def claim(self, ref: ChunkRef, stage: Stage, worker: WorkerIdentity) -> Claim:
        """queued(stage) -> held. A held chunk is never claimed again, not even by its holder."""
        answer = self._checked(
            "claim", *_args(ref), stage.name, worker.name, self._lease_ms, worker.describe()
        )
        return Claim(ref, int(answer[0]))

    def advance(
        self, ref: ChunkRef, stage: Stage, worker: WorkerIdentity, next_stage: Stage, queue: str
    ) -> None:
        """held(stage) -> queued(next_stage) on ``queue``. Repeating it is success."""
        self._checked("advance", *_args(ref), stage.name, worker.name, next_stage.name, queue)

    def finish(self, ref: ChunkRef, worker: WorkerIdentity, counters: dict[str, float]) -> None:
        """held(last stage) -> done, adding the counters once. Repeating it is success."""
        pairs = [part for item in counters.items() for part in item]
        self._checked("finish", *_args(ref), last_stage().name, worker.name, *pairs)

    def give_back(self, ref: ChunkRef, stage: Stage, worker: WorkerIdentity) -> GivenBack:
        """held -> queued(the job's first stage), unharmed. The message is the caller's to send."""
        answer = self._checked("give_back", *_args(ref), stage.name, worker.name)
        attempt, first_stage, queue = answer
        return GivenBack(replace(ref, attempt=int(attempt)), first_stage, queue)

    def leave(self, ref: ChunkRef, stage: Stage, worker: WorkerIdentity) -> None:
        """held -> waiting, unharmed, for the producer's next pass, which sends its message."""
        self._checked("leave", *_args(ref), stage.name, worker.name)

    def renew(
        self,
        incarnation: str,
        worker: WorkerIdentity,
        named: Iterable[str],
        *,
        stopping: bool = False,
    ) -> None:
        """Renew the lease and name the chunks in hand (``ChunkRef.name``)."""
        about = worker.describe(stopping=stopping)
        self._checked("renew", incarnation, worker.name, self._lease_ms, about, *named)

    def depart(self, incarnation: str, worker: WorkerIdentity) -> None:
        """End in good order: what this worker still holds may be rescued at once."""
        self._checked("depart", incarnation, worker.name)

    def mark_running_alone(
        self, ref: ChunkRef, stage: Stage, worker: WorkerIdentity, item: int | None
    ) -> int:
        """Note that ``worker`` runs this item of its chunk alone; None: that it runs none so.

        ``item`` is the place in the chunk, or another number of the stage's own for a second trial
        of the same item. Returns how many runs of it were lost at this stage.
        """
        place = "-" if item is None else item
        answer = self._checked("mark_running_alone", *_args(ref), stage.name, worker.name, place)
        return int(answer[0])

    def rescue_held(self, incarnation: str) -> list[ChunkRef]:
        """Send back what dead workers hold, and what live ones no longer name.

        A loss at a stage that is ``long`` is not counted. From its second rescue on a chunk waits
        first. Returns what is queued now, with what has waited long enough.
        """
        uncounted = (stage.name for stage in STAGES.values() if stage.long)
        answer = self._checked("rescue_held", incarnation, self._pause_ms, *uncounted)
        return _refs(incarnation, answer)

    def rescue_queued(self, incarnation: str, queue: str, count: int) -> list[ChunkRef]:
        """Send back the ``count`` oldest queued chunks of ``queue``: their messages are lost.

        Waits and returns as ``rescue_held`` does.
        """
        answer = self._checked("rescue_queued", incarnation, queue, count, self._pause_ms)
        return _refs(incarnation, answer)

    def refuse(self, ref: ChunkRef, stage: Stage) -> None:
        """Count a message of ours for ``stage`` that could not pass; it is sent again, or given up.

        Raises Stale where it was not the chunk's last: that counts for nothing.
        """
        self._checked("refuse", *_args(ref), stage.name, MAX_REFUSALS, self._pause_ms)

    def give_up(self, incarnation: str, queue: str) -> list[ChunkRef]:
        """Queue on ``queue``, for the last stage, what was refused too often.

        Their results, in which every item failed, are the caller's to send.
        """
        return _refs(incarnation, self._checked("give_up", incarnation, last_stage().name, queue))

    def reopen(self, incarnation: str, job_uid: str, chunk: int) -> None:
        """Clear the done bit of a chunk whose file is missing from the bucket."""
        self._checked("reopen", incarnation, job_uid, chunk)

    def cancel_job(self, incarnation: str, job_uid: str) -> None:
        """Make every chunk in flight stale; nothing more of this job is fed."""
        self._checked("cancel_job", incarnation, job_uid)

    def close_job(self, incarnation: str, job_uid: str) -> None:
        """Forget a job that the bucket shows to be closed."""
        self._checked("close_job", incarnation, job_uid)

    def still_staged(self, refs: list[ChunkRef]) -> list[bool]:
        """For each chunk: is this very attempt at a stage that reads pixels, queued or held?"""
        return self._attempts_at((s for s in STAGES.values() if s.reads_pixels), refs)

    def still_needed(self, refs: list[ChunkRef]) -> list[bool]:
        """For each chunk: the same, or is this very attempt at a stage that writes pixels?"""
        stages = (s for s in STAGES.values() if s.reads_pixels or s.writes_pixels)
        return self._attempts_at(stages, refs)

    def _attempts_at(self, stages: Iterable[Stage], refs: list[ChunkRef]) -> list[bool]:
        if not refs:
            return []
        names = " ".join(stage.name for stage in stages)
        answer = self._run("staged", names, *(part for ref in refs for part in _args(ref)))
        return [bool(value) for value in answer]

    def queued_count(self, queue: str) -> int:
        """How many chunks the ledger holds to be queued on ``queue``."""
        return int(self._call(lambda: self._client.zcard(f"hr:queued:{queue}")))

    def queues(self) -> list[str]:
        """Every queue that chunks are recorded on."""
        keys = self._call(lambda: list(self._client.scan_iter("hr:queued:*", count=1000)))
        return sorted(key.removeprefix("hr:queued:") for key in keys)

    def jobs(self) -> list[str]:
        """The uids of the jobs that are open here."""
        return sorted(self._call(lambda: self._client.smembers("hr:jobs")))

    def live_chunks(self, job_uid: str) -> list[int]:
        """The job's chunks that are queued or held."""
        return sorted(
            int(chunk) for chunk in self._call(lambda: self._client.hkeys(f"hr:{job_uid}:live"))
        )

    def places(self, job_uids: Iterable[str]) -> list[ChunkPlace]:
        """Where each chunk of these jobs is that is queued or held; one request.

        Left out are those that cannot be read, until they are fed again.
        """
        uids = list(job_uids)

        def read() -> list[Any]:
            pipe = self._client.pipeline(transaction=False)
            pipe.time()
            for uid in uids:
                pipe.hgetall(f"hr:{uid}:live")
            return list(pipe.execute())

        (seconds, microseconds), *lines = self._call(read)
        now = seconds + microseconds / 1e6
        places = [
            read_place(uid, chunk, line, now)
            for uid, chunks in zip(uids, lines, strict=True)
            for chunk, line in sorted(chunks.items(), key=lambda pair: int(pair[0]))
        ]
        return [place for place in places if place is not None]

    def done_between(self, job_uid: str, first: int, end: int) -> int:
        """How many of the chunks ``[first, end)`` are recorded as done."""
        if end <= first:
            return 0
        key = f"hr:{job_uid}:done"
        return int(self._call(lambda: self._client.bitcount(key, first, end - 1, "BIT")))

    def progress(self, job_uid: str) -> JobProgress | None:
        """Hints for a progress bar; None where the job is not open here."""

        def read() -> tuple[Any, ...]:
            pipe = self._client.pipeline()
            pipe.hgetall(f"hr:job:{job_uid}")
            pipe.bitcount(f"hr:{job_uid}:done")
            pipe.hlen(f"hr:{job_uid}:live")
            return tuple(pipe.execute())

        fields, done, live = self._call(read)
        if not fields:
            return None
        counters = {key: float(fields[key]) for key in fields.keys() - _NO_COUNTERS}
        job_id, cancelled = fields.get("job_id", ""), "cancelled" in fields
        return JobProgress(job_uid, job_id, done, live, cancelled, counters)

    def workers(self) -> list[LiveWorker]:
        """The workers whose leases stand."""
        described = self._call(lambda: self._client.hgetall("hr:workers"))
        names = sorted(described)

        def read() -> list[Any]:
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.pttl(f"hr:lease:{name}")
                pipe.hkeys(f"hr:held:{name}")
            return list(pipe.execute())

        answers = self._call(read) if names else []
        live = []
        for name, left_ms, held in zip(names, answers[::2], answers[1::2], strict=True):
            if left_ms > 0:
                about = json.loads(described[name])
                about.pop("nonce")
                chunks, seconds = tuple(sorted(held)), left_ms / 1000
                live.append(LiveWorker(name, held=chunks, lease_left_seconds=seconds, **about))
        return live

    def hosts(self, role: str) -> set[str]:
        """The hosts on which a worker of this role lives."""
        return {worker.host_id for worker in self.workers() if worker.role == role}

    def hint(self, job_id: str) -> None:
        """Tell the producer that a job's state in the bucket has changed. Losing it costs time."""
        self._call(lambda: self._client.rpush("hr:hints", job_id))

    def take_hints(self) -> list[str]:
        """The jobs hinted at since the last call."""
        return list(self._call(lambda: self._client.lpop("hr:hints", 1000)) or [])

    def lead(self, token: str, seconds: float) -> bool:
        """Take or keep the producers' leadership. It saves work; the bucket decides."""
        milliseconds = int(seconds * 1000)

        def take() -> bool:
            if self._client.set("hr:leader", token, nx=True, px=milliseconds):
                return True
            if self._client.get("hr:leader") != token:
                return False
            return bool(self._client.pexpire("hr:leader", milliseconds))

        return self._call(take)

    def stop_leading(self, token: str) -> None:
        """Let another producer lead at once."""
        if self._call(lambda: self._client.get("hr:leader")) == token:
            self._call(lambda: self._client.delete("hr:leader"))

    def stale_counts(self) -> dict[str, int]:
        """How many late messages and transitions were dropped, by reason."""
        counts = self._call(lambda: self._client.hgetall("hr:stale"))
        return {reason: int(count) for reason, count in counts.items()}

    def _checked(self, name: str, *args: Any) -> list[Any]:
        answer = self._run(name, *args)
        if answer[0] == "stale":
            raise Stale(answer[1])
        return list(answer[1:])

    def _run(self, name: str, *args: Any) -> Any:
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = self._client.register_script(_script_text(name))
        return self._call(lambda: script(args=[str(arg) for arg in args]))

    def _call(self, action: Callable[[], _T]) -> _T:
        try:
            return action()
        except FAILURES as error:
            raise no_answer("ledger", error) from error


def _args(ref: ChunkRef) -> tuple[str, str, int, int]:
    return ref.incarnation, ref.job_uid, ref.chunk, ref.attempt


def _refs(incarnation: str, flat: list[Any]) -> list[ChunkRef]:
    triples = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    return [ChunkRef(incarnation, uid, int(chunk), int(attempt)) for uid, chunk, attempt in triples]


def connect_ledger(settings: Settings) -> Ledger:
    """Connect lazily to ``settings.ledger_url``; timeouts are short and nothing is retried."""
    client = redis_client(
        settings.ledger_url,
        settings.ca_file,
        decode_responses=True,
        health_check_interval=15,
        retry=Retry(NoBackoff(), 1),
    )
    return Ledger(client, lease_seconds=settings.lease_seconds)
