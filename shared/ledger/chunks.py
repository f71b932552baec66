"""What happens to chunks and to those that hold them: transitions, each one script that compares
and sets.

A script that finds another incarnation, job, attempt, state or holder changes nothing and answers
``Stale``: the message or the worker in question is merely late. See ARCHITECTURE.md for the states.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from shared.ledger.connection import Connection
from shared.ledger.records import ChunkRef, Claim, GivenBack, WorkerIdentity
from shared.stages import STAGES, Stage, last_stage

# So many dead letters that carried our signature end a chunk.
MAX_REFUSALS = 3


class ChunkLedger(Connection):
    """The transitions of chunks, and the leases of their holders."""

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
        """Note that a worker has ended, so that the chunks it still holds are rescued at once."""
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


def _args(ref: ChunkRef) -> tuple[str, str, int, int]:
    return ref.incarnation, ref.job_uid, ref.chunk, ref.attempt


def _refs(incarnation: str, flat: list[Any]) -> list[ChunkRef]:
    triples = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    return [ChunkRef(incarnation, uid, int(chunk), int(attempt)) for uid, chunk, attempt in triples]
