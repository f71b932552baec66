"""Pieces that wait for the device, split and joined into device batches."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np

from shared.errors import TransientError
from shared.job import EngineChoice
from workers.inference.batch_sizes import BatchSizes
from workers.inference.model_types import ModelKey
from workers.inference.submission import DeviceBatch, Piece, images_of


@dataclass(frozen=True, slots=True, eq=False)
class Preparation:
    """A model to be loaded, once for all who wait; they get what was chosen to compute it.

    ``threads``: those that wait.
    """

    key: ModelKey
    threads: set[int] = field(default_factory=set)
    waiting: list[Future[EngineChoice]] = field(default_factory=list)
    submitted: float = field(default_factory=time.monotonic)


class DeviceQueue:
    """First in, first out, models to be loaded included. Thread-safe.

    A piece larger than its model's batch size is split evenly, smaller ones of the same model are
    joined. The oldest waits for company for ``max_wait_seconds`` at most, and never once all
    ``submitters`` (how many threads submit, each waiting for its answers) are here. It waits since
    it was submitted, so what came while the device was busy does not keep it idle afterwards.
    Were loading first, a model that cannot be loaded, and is tried again, would stop all others.
    """

    def __init__(self, batch_images: int, max_wait_seconds: float, submitters: int) -> None:
        self.is_closed = False
        self._sizes = BatchSizes(batch_images)
        self._max_wait_seconds = max_wait_seconds
        self._submitters = submitters
        self._pending: deque[Piece] = deque()
        self._preparations: dict[ModelKey, Preparation] = {}  # in their order
        self._in_flight = 0  # batches, which may have to run again
        self._changed = threading.Condition()

    def put(self, piece: Piece) -> None:
        """Add a piece. Raises TransientError where the queue is closed."""
        with self._changed:
            self._raise_if_closed()
            self._pending.extend(self._split(piece))
            self._changed.notify()

    def put_preparation(self, key: ModelKey) -> Future[EngineChoice]:
        """Add a model to be loaded. Raises TransientError where the queue is closed."""
        future: Future[EngineChoice] = Future()
        with self._changed:
            self._raise_if_closed()
            preparation = self._preparations.setdefault(key, Preparation(key))
            preparation.waiting.append(future)
            preparation.threads.add(threading.get_ident())
            self._changed.notify()
        return future

    def put_back(self, batch: DeviceBatch) -> None:
        """Put a batch that never began back to the front."""
        with self._changed:
            self._pending.extendleft(reversed(batch))
            self._changed.notify()

    def put_back_smaller(self, batch: DeviceBatch) -> int:
        """Put a batch that was too large back to the front; split it and all that waits again.

        Returns how many images of its model the next batches may have.
        """
        size = self._sizes.shrink(batch[0].submission.key, images_of(batch))
        with self._changed:
            waiting = [*batch, *self._pending]
            self._pending = deque(chain.from_iterable(map(self._split, waiting)))
            self._changed.notify()
        return size

    def next(self, on_idle: Callable[[], None]) -> DeviceBatch | Preparation | None:
        """Wait for the next batch or preparation, and take it off the queue.

        None when the queue is closed, nothing waits and nothing is in flight. ``on_idle`` is called
        before a wait without end.
        """
        with self._changed:
            while True:
                self._drop_failed()
                if (preparation := self._oldest_preparation()) is not None:
                    return self._preparations.pop(preparation.key)
                if self._pending:
                    batch, patience_seconds = self._joined()
                    if patience_seconds <= 0:
                        for piece in batch:
                            self._pending.remove(piece)
                        return batch
                    self._changed.wait(patience_seconds)
                elif self.is_closed and not self._in_flight:
                    return None
                else:
                    on_idle()
                    self._changed.wait()

    def take_same_jobs(self, batch: DeviceBatch) -> DeviceBatch:
        """Take the waiting pieces of the batch's jobs and model off the queue."""
        key, jobs = batch[0].submission.key, {piece.submission.job for piece in batch}
        with self._changed:
            found = [
                piece
                for piece in self._pending
                if piece.submission.key == key and piece.submission.job in jobs
            ]
            for piece in found:
                self._pending.remove(piece)
        return found

    def waiting_keys(self) -> set[ModelKey]:
        """The models of all pieces that wait."""
        with self._changed:
            return {piece.submission.key for piece in self._pending}

    def began(self) -> None:
        """Note that the device has one more batch."""
        with self._changed:
            self._in_flight += 1

    def ended(self) -> None:
        """Note that a batch of the device's ended, and was put back where it has to run again."""
        with self._changed:
            self._in_flight -= 1
            self._changed.notify()

    def fitted(self, batch: DeviceBatch) -> None:
        """Note that the device had memory for the batch."""
        self._sizes.ran(batch[0].submission.key)

    def close(self) -> None:
        """Take nothing more; what waits is still given out."""
        with self._changed:
            self.is_closed = True
            self._changed.notify()

    def _raise_if_closed(self) -> None:
        if self.is_closed:
            raise TransientError("stopping", "The device loop is closed.")

    def _drop_failed(self) -> None:
        """Drop the rest of submissions of which a piece failed."""
        while self._pending and self._pending[0].submission.future.done():
            self._pending.popleft()

    def _oldest_preparation(self) -> Preparation | None:
        """The first of them, unless a piece has waited for longer."""
        first = next(iter(self._preparations.values()), None)
        if first is None or not self._pending:
            return first
        return first if first.submitted < self._pending[0].submission.submitted else None

    def _joined(self) -> tuple[DeviceBatch, float]:
        """The oldest piece and those that fit beside it, and how long they may wait for more."""
        batch, is_full = self._joinable()
        if is_full or len(self._threads()) >= self._submitters or self.is_closed:
            return batch, 0.0
        submitted = self._pending[0].submission.submitted
        return batch, submitted + self._max_wait_seconds - time.monotonic()

    def _threads(self) -> set[int]:
        """Those that wait. Who waits for a model to be loaded submits nothing meanwhile."""
        waiting = {piece.submission.thread for piece in self._pending}
        return waiting.union(*(each.threads for each in self._preparations.values()))

    def _joinable(self) -> tuple[DeviceBatch, bool]:
        """The oldest piece and those of its model that fit beside it; is there no room left?"""
        first, *others = self._pending
        batch, room = [first], self._sizes.of(first.submission.key) - len(first.images)
        if first.alone:
            return batch, True
        for piece in others:
            if piece.submission.key != first.submission.key:
                continue
            if piece.alone or len(piece.images) > room:
                return batch, True
            batch.append(piece)
            room -= len(piece.images)
        return batch, room <= 0

    def _split(self, piece: Piece) -> DeviceBatch:
        """Even parts of a piece, as many as its model's batch size asks for."""
        parts = -(-len(piece.images) // self._sizes.of(piece.submission.key))
        piece.submission.pieces += parts - 1
        split, start = [], 0
        for images in np.array_split(piece.images, parts):
            end = start + len(images)
            about = piece.about and piece.about[start:end]
            split.append(replace(piece, images=images, about=about, first=piece.first + start))
            start = end
        return split
