"""Feeding one job's chunks to the first queue, from a cursor over its manifest."""

from __future__ import annotations

from typing import Protocol

from shared.job import JobSpec
from shared.ledger import ChunkRef, Ledger
from shared.manifest import ManifestReader, Seal
from shared.messages import Chunk, Message
from shared.queues import PREPROCESS_TASK, preprocess_queue


class Sender(Protocol):
    """What sends messages and knows how many wait."""

    def send(self, task: str, queue: str, message: Message) -> None: ...

    def ready_length(self, queue: str) -> int: ...


class JobFeed:
    """The cursor of one job under one incarnation. It may start at zero at any time: chunks that
    are done or live are passed over."""

    def __init__(
        self,
        spec: JobSpec,
        reader: ManifestReader,
        ledger: Ledger,
        sender: Sender,
        incarnation: str,
    ) -> None:
        self.spec = spec
        self._reader, self._ledger, self._sender = reader, ledger, sender
        self._incarnation = incarnation
        self._number = self._cursor = 0

    def feed(self, *, written: int, bound: int, most: int) -> int:
        """Queue up to ``most`` chunks while the first queue is below ``bound``.

        ``written``: how many segments stand. Returns how many chunks were queued. Raises
        TransientError; what the ledger then holds as queued and has no message is rescued.
        """
        fed = 0
        while self._number < written and fed < most:
            part = self._reader.part(self._number)
            if part is None or isinstance(part, Seal):
                break
            end = min(part.end_chunk, max(self._cursor, part.first_chunk) + most - fed)
            self._cursor, refs = self._ledger.feed(
                self._incarnation, self.spec.job_uid, self._cursor, end, bound=bound
            )
            for ref in refs:
                self.send(ref)
            fed += len(refs)
            if self._cursor < end:
                break
            if self._cursor >= part.end_chunk:
                self._number += 1
        return fed

    def send(self, ref: ChunkRef) -> None:
        """Send the first stage's message of one attempt at one chunk."""
        spec = self.spec
        chunk = Chunk(
            incarnation=ref.incarnation,
            job_id=spec.job_id,
            job_uid=spec.job_uid,
            chunk=ref.chunk,
            attempt=ref.attempt,
            pipeline=spec.pipeline,
            bucket=spec.bucket,
            items=list(self._reader.items(ref.chunk)),
        )
        self._sender.send(PREPROCESS_TASK, preprocess_queue(), chunk)

    def start_again_if_left(self, written: int) -> None:
        """At the end of a sealed job with nothing live and something undone, begin at zero.

        So a chunk whose file was found missing is fed again.
        """
        seal = self._reader.part(self._number) if self._number >= written else None
        if not isinstance(seal, Seal):
            return
        progress = self._ledger.progress(self.spec.job_uid)
        if progress and progress.live_chunks == 0 and progress.done_chunks < seal.chunks:
            self._number = self._cursor = 0
