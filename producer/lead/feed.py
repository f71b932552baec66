"""Feeding one job's chunks to its first queue, from a cursor over its manifest."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from shared.answers import all_failed, answer_schema
from shared.errors import ItemErrorCode
from shared.item import ItemFailure
from shared.job import JobSpec
from shared.ledger import ChunkRef, Ledger
from shared.manifest import ManifestReader, Seal
from shared.messages import Chunk, Message, Result, Timings
from shared.stages import RESULTS, queue_name

# So many chunks one script looks at: where most are done, the ledger is not to stand still.
SPAN_CHUNKS = 4096


class Sender(Protocol):
    """What sends messages, knows how many wait, and drops those that are worth nothing any more."""

    def send(self, task: str, queue: str, message: Message) -> None: ...

    def ready_length(self, queue: str) -> int: ...

    def discard(self, queue: str) -> None: ...


class JobFeed:
    """The cursor of one job under one incarnation.

    It may start at zero at any time: chunks that are done or live are passed over.
    """

    def __init__(
        self,
        spec: JobSpec,
        reader: ManifestReader,
        ledger: Ledger,
        sender: Sender,
        incarnation: str,
    ) -> None:
        self._spec = spec
        self._reader, self._ledger, self._sender = reader, ledger, sender
        self._incarnation = incarnation
        self._cursor = 0
        self._unsent: deque[ChunkRef] = deque()

    def feed(self, chunks: int, *, bound: int, max_chunks: int) -> int:
        """Queue up to ``max_chunks`` of the first ``chunks`` while the queue is below ``bound``.

        Returns how many were queued. Raises TransientError and Stale; what was queued and not sent
        is sent by the next call.
        """
        self._send_unsent()
        fed = 0
        while self._cursor < chunks and fed < max_chunks:
            end = min(chunks, self._cursor + SPAN_CHUNKS)
            self._cursor, refs = self._ledger.feed(
                self._incarnation,
                self._spec.job_uid,
                self._cursor,
                end,
                bound=bound,
                most=max_chunks - fed,
            )
            self._unsent.extend(refs)
            self._send_unsent()
            fed += len(refs)
            if self._cursor < end:
                break
        return fed

    def _send_unsent(self) -> None:
        while self._unsent:
            self.send(self._unsent[0])
            self._unsent.popleft()

    def send(self, ref: ChunkRef) -> None:
        """Send the first stage's message of one attempt at one chunk."""
        first, items = self._spec.first_queue, self._reader.rows(ref.chunk).to_pylist()
        chunk = self._head(ref).onward(Chunk, items=items)
        self._sender.send(first.stage.task, first.name, chunk)

    def send_given_up(self, ref: ChunkRef) -> None:
        """Send the result of a chunk that could not pass: every item of it failed."""
        reason = "A worker refused each message that carried it."
        failure = ItemFailure(error_code=ItemErrorCode.UNDELIVERABLE, error_message=reason)
        pipeline = self._spec.pipeline
        schema = answer_schema(pipeline, Result.stage_before(pipeline))
        result = self._head(ref).onward(
            Result,
            answers=all_failed(len(self._reader.rows(ref.chunk)), schema, failure),
            computed=dict.fromkeys(pipeline.network_analyses),
            scored_at=0.0,
            timings=Timings(),
        )
        self._sender.send(RESULTS.task, queue_name(RESULTS), result)

    def _head(self, ref: ChunkRef) -> Message:
        spec = self._spec
        return Message(
            incarnation=ref.incarnation,
            job_id=spec.job_id,
            job_uid=spec.job_uid,
            chunk=ref.chunk,
            attempt=ref.attempt,
            bucket=spec.bucket,
            pipeline=spec.pipeline,
        )

    def has_unfinished_chunks(self, seal: Seal) -> bool:
        """Is something undone and nothing live, at the end?

        So a chunk whose file was found missing, or that the ledger has forgotten, is noticed.
        """
        if self._cursor < seal.chunks:
            return False
        progress = self._ledger.progress(self._spec.job_uid)
        return bool(progress and progress.live_chunks == 0 and progress.done_chunks < seal.chunks)
