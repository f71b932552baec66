"""The one thread that gives the device its batches, formed from the chunks that are resident."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import chain
from queue import SimpleQueue

import numpy as np

from shared.errors import TransientError
from workers.deadline import NO_DEADLINE, Renew, deadlines
from workers.inference.batch_sizes import BatchSizes
from workers.inference.engines import (
    LAUNCHED_BATCHES,
    Engine,
    Images,
    KeepingEngine,
    Launched,
    Ran,
    StreamingEngine,
)
from workers.inference.errors import EngineError, ModelUnusable, is_out_of_memory, one_line
from workers.inference.models import LoadedModel, LoadedModels, ModelKey
from workers.inference.submission import (
    Batch,
    Inferred,
    Piece,
    Submission,
    deliver,
    fail,
    images_of,
)

CPU_BATCH_IMAGES = 64
CUDA_BATCH_IMAGES = 256

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _UnderWay:
    """A batch that the device has; ``started``: when it was given it, by the monotonic clock."""

    batch: Batch
    model: LoadedModel
    launched: Launched
    started: float


class DeviceLoop:
    """Runs submissions in their order, in batches of at most ``batch_images``.

    A batch for which the device has no memory is run again in halves, and the model's next ones
    are smaller for a while. An engine that streams has one batch running and the next one
    arriving; a second thread waits for their ends.

    Larger submissions are split evenly, smaller ones of the same model are joined. The oldest
    waits for company for ``max_wait_seconds`` at most, and never once all ``submitters`` (how
    many threads submit, each waiting for its answer) are here. It waits since it was submitted,
    so what came while the device was busy does not keep it idle afterwards. Only joining copies,
    and the submitter of what is for a user's class, who may be at it while another batch runs.
    """

    def __init__(
        self,
        models: LoadedModels,
        *,
        batch_images: int = CPU_BATCH_IMAGES,
        max_wait_seconds: float = 0.005,
        submitters: int = 1,
    ) -> None:
        self._models = models
        self._sizes = BatchSizes(batch_images)
        self._max_wait_seconds = max_wait_seconds
        self._submitters = submitters
        self._pending: deque[Piece] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._turns = threading.Semaphore(LAUNCHED_BATCHES)
        self._under_way: SimpleQueue[_UnderWay | None] = SimpleQueue()
        # Daemons: a worker that ends has nothing submitted, and no engine may keep it alive.
        self._ends = threading.Thread(target=self._wait_for_ends, name="device-ends", daemon=True)
        self._thread = threading.Thread(target=self._serve, name="device", daemon=True)
        self._ends.start()
        self._thread.start()

    def submit(self, key: ModelKey, images: Images, *, alone: bool = False) -> Future[Inferred]:
        """Run uint8 ``images`` (images, height, width, 3), of which there must be at least one.

        ``alone``: in a batch of its own. The future raises EngineError if the engine raised on
        one of the batches, ModelUnusable, or TransientError where loading may work later. The
        pixels must stay as they are until it is done.
        """
        submission = Submission(key)
        copied = np.array(images) if key.model.python_class else None
        with self._changed:
            if self._closing:
                raise TransientError("stopping", "The device loop is closed.")
            self._pending.extend(self._split(Piece(submission, images, alone, copied)))
            self._changed.notify()
        return submission.future

    def close(self) -> None:
        """Finish what is submitted, close the engines, and end the threads."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _serve(self) -> None:
        with deadlines.watched() as renew:
            self._serve_until_closed(renew)
        self._under_way.put(None)
        self._ends.join()
        self._models.close()

    def _serve_until_closed(self, renew: Renew) -> None:
        """Each batch renews the deadline that the one before it had; waiting has none."""
        while self._next_turn(renew) and (batch := self._next_batch(renew)):
            try:
                under_way = self._run(batch, renew)
            except (ModelUnusable, TransientError) as error:
                fail(batch, error)
                under_way = None
            except BaseException as error:  # noqa: BLE001 - a user's class may raise SystemExit
                _fail_by_engine(batch, error)
                under_way = None
            if under_way is None:
                self._turns.release()
            else:
                self._under_way.put(under_way)

    def _next_turn(self, renew: Renew) -> bool:
        if not self._turns.acquire(blocking=False):
            renew(NO_DEADLINE)
            self._turns.acquire()
        return True

    def _next_batch(self, renew: Renew) -> Batch:
        """The next batch's pieces, taken off the queue; none when closing and all is done."""
        with self._changed:
            while True:
                while self._pending and self._pending[0].submission.future.done():
                    self._pending.popleft()  # the rest of a submission that failed
                if not self._pending:
                    if self._closing:
                        return []
                    renew(NO_DEADLINE)
                    self._changed.wait()
                    continue
                batch, full = self._joinable()
                oldest = self._pending[0].submission.submitted
                patience = oldest + self._max_wait_seconds - time.monotonic()
                complete = full or len(self._pending) >= self._submitters or self._closing
                if complete or patience <= 0:
                    for piece in batch:
                        self._pending.remove(piece)
                    return batch
                self._changed.wait(patience)

    def _joinable(self) -> tuple[Batch, bool]:
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

    def _split(self, piece: Piece) -> Batch:
        """Even parts of a piece, as many as its model's batch size asks for."""
        parts = -(-len(piece.images) // self._sizes.of(piece.submission.key))
        piece.submission.pieces += parts - 1
        copies = [None] * parts if piece.copied is None else np.array_split(piece.copied, parts)
        both = zip(np.array_split(piece.images, parts), copies, strict=True)
        return [replace(piece, images=images, copied=copied) for images, copied in both]

    def _run(self, batch: Batch, renew: Renew) -> _UnderWay | None:
        """Run the batch, or begin with it where the engine streams."""
        key = batch[0].submission.key
        if key not in self._models:  # setting the timer twice for each batch would take its time
            renew(key.load_seconds)
        model = self._models.get(key)
        renew(key.batch_seconds)
        started = time.monotonic()
        try:
            if isinstance(model.engine, StreamingEngine):
                launched = model.engine.launch([piece.images for piece in batch])
                self._sizes.ran(key)
                return _UnderWay(batch, model, launched, started)
            ran = _run_now(model.engine, batch)
        except BaseException as error:
            if images_of(batch) == 1 or not is_out_of_memory(error):
                raise
            self._run_smaller(batch)
            return None
        self._sizes.ran(key)
        deliver(batch, model, ran, started)
        return None

    def _wait_for_ends(self) -> None:
        while (under_way := self._under_way.get()) is not None:
            batch = under_way.batch
            try:
                with deadlines.watched() as renew:
                    renew(batch[0].submission.key.batch_seconds)
                    ran = under_way.launched.wait()
            except BaseException as error:  # noqa: BLE001 - whoever submitted is told
                _fail_by_engine(batch, error)
                self._turns.release()
            else:
                self._turns.release()  # first: the device has one batch only until it gets another
                deliver(batch, under_way.model, ran, under_way.started)

    def _run_smaller(self, batch: Batch) -> None:
        """Put a batch that was too large back to the front, with whatever waits behind it."""
        key, images = batch[0].submission.key, images_of(batch)
        size = self._sizes.shrink(key, images)
        name = key.model.name
        log.warning("no memory on the device for %d images of '%s': now %d", images, name, size)
        with self._changed:
            tried = [replace(piece, copied=None) for piece in batch]  # who knows what became of it
            waiting = [*tried, *self._pending]
            self._pending = deque(chain.from_iterable(map(self._split, waiting)))


def _run_now(engine: Engine, batch: Batch) -> Ran:
    run, images = engine.run, [piece.images for piece in batch]
    if isinstance(engine, KeepingEngine):
        run, images = engine.run_own, [piece.own() for piece in batch]
    joined = images[0] if len(images) == 1 else np.concatenate(images)
    started = time.monotonic()
    outputs = run(joined)
    return Ran(outputs, time.monotonic() - started, time.time())


def _fail_by_engine(batch: Batch, error: BaseException) -> None:
    if not batch[0].alone:
        log.warning("the engine raised on %d images", images_of(batch), exc_info=error)
    fail(batch, EngineError(one_line(error)))
