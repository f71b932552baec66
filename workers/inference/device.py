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
from shared.threads import guarded
from workers.deadline import NO_DEADLINE, Renew, deadlines
from workers.inference.batch_sizes import BatchSizes
from workers.inference.engines import (
    LAUNCHED_BATCHES,
    Engine,
    HostedEngine,
    Images,
    Launched,
    Ran,
    StreamingEngine,
)
from workers.inference.errors import (
    ClassUnusable,
    EngineError,
    HostNotStarted,
    ModelUnusable,
    NotBegun,
    is_out_of_memory,
    one_line,
)
from workers.inference.models import LoadedModel, LoadedModels, ModelKey
from workers.inference.prints import JobPrints
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
# A user's class that takes longer than it may to load is ended by its worker. This much later the
# worker would be ended itself: ending what the class has started may take 12 seconds.
HOST_GRACE_SECONDS = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _UnderWay:
    """A batch that the device has; ``started``: when it was given it, by the monotonic clock."""

    batch: Batch
    model: LoadedModel
    launched: Launched | None
    started: float


class DeviceLoop:
    """Runs submissions in their order, in batches of at most ``batch_images``.

    A batch for which the device has no memory is run again in halves, and the model's next ones
    are smaller for a while. An engine that streams has one batch running and the next one
    arriving; a second thread waits for their ends.

    Larger submissions are split evenly, smaller ones of the same model are joined. The oldest
    waits for company for ``max_wait_seconds`` at most, and never once all ``submitters`` (how
    many threads submit, each waiting for its answer) are here. It waits since it was submitted,
    so what came while the device was busy does not keep it idle afterwards. Only joining copies.
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
        self._prints = JobPrints()
        self._batches_under_way = 0  # which may have to run again
        self._turns = threading.Semaphore(LAUNCHED_BATCHES)
        self._under_way: SimpleQueue[_UnderWay | None] = SimpleQueue()
        self._ends = guarded("device-ends", self._wait_for_ends, ended=lambda: self._closing)
        self._thread = guarded("device", self._serve, ended=lambda: self._closing)
        self._ends.start()
        self._thread.start()

    def submit(
        self,
        key: ModelKey,
        images: Images,
        *,
        job: str = "",
        alone: bool = False,
        fresh: bool = False,
    ) -> Future[Inferred]:
        """Run uint8 ``images`` (images, height, width, 3), of which there must be at least one.

        ``job``: whose log gets what a user's class prints. ``alone``: in a batch of its own;
        ``fresh``: and first in a process of its own, for a user's class. The future raises
        EngineError if the engine raised on one of the batches, HostDied if a user's class ended its
        process, ModelUnusable, or TransientError where loading may work later. The pixels must stay
        as they are until it is done.
        """
        submission = Submission(key, job)
        with self._changed:
            if self._closing:
                raise TransientError("stopping", "The device loop is closed.")
            piece = Piece(submission, images, alone=alone, fresh=fresh)
            self._pending.extend(self._split(piece))
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
        while batch := self._next_batch(renew):
            try:
                under_way = self._run(batch, renew)
            except (ModelUnusable, TransientError) as error:
                if isinstance(error, ModelUnusable):
                    self._write_prints(batch, error.prints)
                if isinstance(error, ClassUnusable):
                    batch += self._waiting_like(batch)
                if isinstance(error, HostNotStarted):  # what is short may be with the others
                    renew(NO_DEADLINE)
                    self._models.close()
                fail(batch, error)
                under_way = None
            except BaseException as error:  # noqa: BLE001 - the submitter is told
                _fail_by_engine(batch, error)
                under_way = None
            if under_way is None:
                self._turns.release()
            else:
                with self._changed:
                    self._batches_under_way += 1
                self._under_way.put(under_way)

    def _waiting_like(self, batch: Batch) -> Batch:
        """What waits of the same jobs for the same model, taken off the queue."""
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

    def _next_batch(self, renew: Renew) -> Batch:
        """The next batch's pieces, taken off the queue when it is its turn on the device.

        None when closing and all is done.
        """
        if not self._turns.acquire(blocking=False):
            renew(NO_DEADLINE)
            self._turns.acquire()
        with self._changed:
            while True:
                while self._pending and self._pending[0].submission.future.done():
                    self._pending.popleft()  # the rest of a submission that failed
                if not self._pending:
                    if self._closing and not self._batches_under_way:
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
        split, first = [], piece.first
        for images in np.array_split(piece.images, parts):
            split.append(replace(piece, images=images, first=first))
            first += len(images)
        return split

    def _run(self, batch: Batch, renew: Renew) -> _UnderWay | None:
        """Run the batch, or begin with it where the engine streams."""
        key = batch[0].submission.key
        if batch[0].fresh or key not in self._models:
            renew(NO_DEADLINE)  # what is closed first waits for its own batches under way
            self._models.make_room(key)
            renew(key.load_seconds + HOST_GRACE_SECONDS)
        model = self._models.get(key)
        renew(NO_DEADLINE if isinstance(model.engine, HostedEngine) else key.batch_seconds)
        started = time.monotonic()
        try:
            if isinstance(model.engine, StreamingEngine):
                pieces = [piece.images for piece in batch]
                launched = model.engine.launch(pieces, key.batch_seconds)
                return _UnderWay(batch, model, launched, started)
            ran = _run_now(model.engine, batch)
        except BaseException as error:  # noqa: BLE001 - raised again where nothing helps
            self._run_again(batch, error)
            return None
        self._deliver(_UnderWay(batch, model, None, started), ran)
        return None

    def _wait_for_ends(self) -> None:
        while (under_way := self._under_way.get()) is not None:
            try:
                ran = self._end_of(under_way)
            except BaseException as error:  # noqa: BLE001 - the submitter is told
                self._turns.release()
                self._end_badly(under_way.batch, error)
            else:
                self._turns.release()  # the device has one batch only until it gets another
                self._deliver(under_way, ran)
            with self._changed:
                self._batches_under_way -= 1
                self._changed.notify()

    def _end_of(self, under_way: _UnderWay) -> Ran:
        assert under_way.launched is not None
        if isinstance(under_way.model.engine, HostedEngine):
            return under_way.launched.wait()
        with deadlines.watched() as renew:
            renew(under_way.batch[0].submission.key.batch_seconds)
            return under_way.launched.wait()

    def _deliver(self, under_way: _UnderWay, ran: Ran) -> None:
        batch = under_way.batch
        self._sizes.ran(batch[0].submission.key)
        self._write_prints(batch, ran.prints)
        try:
            deliver(batch, under_way.model, ran, under_way.started)
        except Exception as error:  # noqa: BLE001 - outputs that do not fit each other
            _fail_by_engine(batch, error)

    def _end_badly(self, batch: Batch, error: BaseException) -> None:
        """What a batch under way raised: it runs again where that may help, else it failed."""
        if isinstance(error, EngineError):
            self._write_prints(batch, error.prints)
        try:
            self._run_again(batch, error)
        except BaseException as final:  # noqa: BLE001 - as above
            _fail_by_engine(batch, final)

    def _run_again(self, batch: Batch, error: BaseException) -> None:
        """Put a batch back that its process never began, or that was too large for the device.

        Raises ``error`` where that is not why it failed.
        """
        if isinstance(error, NotBegun):
            with self._changed:
                self._pending.extendleft(reversed(batch))
                self._changed.notify()
        elif images_of(batch) > 1 and is_out_of_memory(error):
            self._run_smaller(batch)
        else:
            raise error

    def _write_prints(self, batch: Batch, text: str) -> None:
        jobs = [piece.submission.job for piece in batch]
        self._prints.write(jobs, batch[0].submission.key.model.name, text)

    def _run_smaller(self, batch: Batch) -> None:
        """Put a batch that was too large back to the front, with whatever waits behind it."""
        key, images = batch[0].submission.key, images_of(batch)
        size = self._sizes.shrink(key, images)
        name = key.model.name
        log.warning("no memory on the device for %d images of '%s': now %d", images, name, size)
        with self._changed:
            waiting = [*batch, *self._pending]
            self._pending = deque(chain.from_iterable(map(self._split, waiting)))
            self._changed.notify()


def _run_now(engine: Engine, batch: Batch) -> Ran:
    images = [piece.images for piece in batch]
    joined = images[0] if len(images) == 1 else np.concatenate(images)
    started = time.monotonic()
    outputs = engine.run(joined)
    return Ran(outputs, time.monotonic() - started, time.time())


def _fail_by_engine(batch: Batch, error: BaseException) -> None:
    if isinstance(error, EngineError):  # a user's class: its traceback is among its prints
        log.warning("%d images: %s", images_of(batch), error)
        fail(batch, error)
        return
    if not batch[0].alone:
        log.warning("the engine raised on %d images", images_of(batch), exc_info=error)
    fail(batch, EngineError(one_line(error)))
