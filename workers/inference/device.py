"""The threads that give the device its batches and wait for their ends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np

from shared.errors import TransientError
from shared.job import EngineChoice
from shared.threads import guarded
from workers.deadline import NO_DEADLINE, Renew, deadlines
from workers.inference.device_queue import DeviceQueue, Preparation
from workers.inference.engines import (
    LAUNCHED_BATCHES,
    DeviceRun,
    Engine,
    HostedEngine,
    Images,
    PendingRun,
    StreamingEngine,
)
from workers.inference.errors import (
    ClassUnusable,
    EngineError,
    HostNotStarted,
    ModelUnusable,
    NotBegun,
    is_out_of_memory,
    load_error,
    one_line,
)
from workers.inference.model_types import AboutImage, LoadedModel, ModelKey
from workers.inference.models import LoadedModels
from workers.inference.prints import JobPrints
from workers.inference.submission import (
    DeviceBatch,
    InferenceResult,
    Piece,
    Submission,
    about_of,
    deliver,
    fail,
    fail_all,
    images_of,
)

CPU_BATCH_IMAGES = 64
CUDA_BATCH_IMAGES = 256
# A user's class that takes longer than it may to load is ended by its worker. This much later the
# worker would be ended itself: ending what the class has started may take 12 seconds.
HOST_GRACE_SECONDS = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _InFlight:
    """A batch that the device has; ``started``: when it was given it, by the monotonic clock."""

    batch: DeviceBatch
    model: LoadedModel
    launched: PendingRun | None
    started: float


class DeviceLoop:
    """Runs submissions in their order, in batches of at most ``batch_images``.

    A ``DeviceQueue`` forms them. A batch for which the device has no memory is run again in halves,
    and the model's next ones are smaller for a while. An engine that streams has one batch running
    and the next one arriving; a second thread waits for their ends. Only joining copies.
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
        self._queue = DeviceQueue(batch_images, max_wait_seconds, submitters)
        self._prints = JobPrints()
        self._turns = threading.Semaphore(LAUNCHED_BATCHES)
        self._in_flight: SimpleQueue[_InFlight | None] = SimpleQueue()
        self._in_hand: dict[object, frozenset[ModelKey]] = {}
        self._ends = guarded("device-ends", self._wait_for_ends, ended=self._is_closed)
        self._thread = guarded("device", self._serve, ended=self._is_closed)
        self._ends.start()
        self._thread.start()

    def submit(
        self,
        key: ModelKey,
        images: Images,
        *,
        job: str = "",
        about: Sequence[AboutImage] | None = None,
        alone: bool = False,
        fresh: bool = False,
    ) -> Future[InferenceResult]:
        """Run uint8 ``images`` (images, height, width, 3), of which there must be at least one.

        ``job``: whose log gets what a user's class prints. ``about``: what it may ask about each
        image. ``alone``: in a batch of its own; ``fresh``: and first in a process of its own, for a
        user's class. The future raises EngineError if the engine raised on one of the batches,
        HostDied if a user's class ended its process, ModelUnusable, or TransientError where loading
        may work later. The pixels must stay as they are until it is done.

        A thread may submit several times, as for several models, before it waits for the answers.
        """
        submission = Submission(key, job)
        self._queue.put(Piece(submission, images, about=about, alone=alone, fresh=fresh))
        return submission.future

    def prepare(self, key: ModelKey) -> Future[EngineChoice]:
        """Choose what computes a network here: load it where it is new.

        A user's class is loaded with its first batch.
        The future raises ModelUnusable, or TransientError where loading may work later.
        """
        if (choice := self._models.choice(key)) is None:
            return self._queue.put_preparation(key)
        future: Future[EngineChoice] = Future()
        future.set_result(choice)
        return future

    @contextmanager
    def keeping(self, keys: Collection[ModelKey]) -> Iterator[None]:
        """Meanwhile these models are needed: none of them is closed to make room for another."""
        chunk = object()
        self._in_hand[chunk] = frozenset(keys)
        try:
            yield
        finally:
            del self._in_hand[chunk]

    def close(self) -> None:
        """Finish what is submitted, close the engines, and end the threads."""
        self._queue.close()
        self._thread.join()

    def _is_closed(self) -> bool:
        return self._queue.is_closed

    def _serve(self) -> None:
        with deadlines.watched() as renew:
            self._serve_until_closed(renew)
        self._in_flight.put(None)
        self._ends.join()
        self._models.close()

    def _serve_until_closed(self, renew: Renew) -> None:
        """Each batch renews the deadline that the one before it had; waiting has none."""
        while (task := self._next_task(renew)) is not None:
            if isinstance(task, Preparation):
                self._prepare(task, renew)
                in_flight = None
            else:
                in_flight = self._begin(task, renew)
            if in_flight is None:
                self._turns.release()
            else:
                self._queue.began()
                self._in_flight.put(in_flight)

    def _next_task(self, renew: Renew) -> DeviceBatch | Preparation | None:
        """The next of the queue, taken when it is its turn on the device."""
        if not self._turns.acquire(blocking=False):
            renew(NO_DEADLINE)
            self._turns.acquire()
        return self._queue.next(on_idle=lambda: renew(NO_DEADLINE))

    def _prepare(self, preparation: Preparation, renew: Renew) -> None:
        try:
            choice = self._model(preparation.key, renew).choice
        except (ModelUnusable, TransientError) as error:
            fail_all(preparation.waiting, error)
        except BaseException as error:  # noqa: BLE001 - the threads that wait are told
            fail_all(preparation.waiting, load_error(preparation.key.model.name, error))
        else:
            for future in preparation.waiting:
                future.set_result(choice)

    def _begin(self, batch: DeviceBatch, renew: Renew) -> _InFlight | None:
        """Run the batch, or begin with it; tell its submitters where that cannot be."""
        try:
            return self._run(batch, renew)
        except (ModelUnusable, TransientError) as error:
            if isinstance(error, ModelUnusable):
                self._write_prints(batch, error.prints)
            if isinstance(error, ClassUnusable):
                batch += self._queue.take_same_jobs(batch)
            if isinstance(error, HostNotStarted):  # what is short may be with the others
                renew(NO_DEADLINE)
                self._models.close()
            fail(batch, error)
        except BaseException as error:  # noqa: BLE001 - the submitter is told
            _fail_by_engine(batch, error)
        return None

    def _run(self, batch: DeviceBatch, renew: Renew) -> _InFlight | None:
        """Run the batch, or begin with it where the engine streams."""
        key = batch[0].submission.key
        model = self._model(key, renew, fresh=batch[0].fresh)
        renew(NO_DEADLINE if isinstance(model.engine, HostedEngine) else key.batch_seconds)
        started = time.monotonic()
        try:
            if isinstance(model.engine, StreamingEngine):
                launched = _launch(model.engine, batch, key.batch_seconds)
                return _InFlight(batch, model, launched, started)
            ran = _run_now(model.engine, batch)
        except BaseException as error:  # noqa: BLE001 - raised again where nothing helps
            self._run_again(batch, error)
            return None
        self._deliver(_InFlight(batch, model, None, started), ran)
        return None

    def _model(self, key: ModelKey, renew: Renew, *, fresh: bool = False) -> LoadedModel:
        if not fresh and key in self._models:
            return self._models.get(key)
        renew(NO_DEADLINE)  # what is closed waits for its own batches in flight
        self._models.close_one(key)
        renew(key.load_seconds + HOST_GRACE_SECONDS)
        model = self._models.get(key)
        renew(NO_DEADLINE)
        # A copy, since other threads change it.
        needed = self._queue.waiting_keys().union(*list(self._in_hand.values()))
        self._models.fit(needed)
        return model

    def _wait_for_ends(self) -> None:
        while (in_flight := self._in_flight.get()) is not None:
            try:
                ran = self._end_of(in_flight)
            except BaseException as error:  # noqa: BLE001 - the submitter is told
                self._turns.release()
                self._end_badly(in_flight.batch, error)
            else:
                self._turns.release()  # the device has one batch only until it gets another
                self._deliver(in_flight, ran)
            self._queue.ended()

    def _end_of(self, in_flight: _InFlight) -> DeviceRun:
        assert in_flight.launched is not None
        if isinstance(in_flight.model.engine, HostedEngine):
            return in_flight.launched.wait()
        with deadlines.watched() as renew:
            renew(in_flight.batch[0].submission.key.batch_seconds)
            return in_flight.launched.wait()

    def _deliver(self, in_flight: _InFlight, ran: DeviceRun) -> None:
        batch = in_flight.batch
        self._queue.fitted(batch)
        self._write_prints(batch, ran.prints)
        try:
            deliver(batch, in_flight.model, ran, in_flight.started)
        except Exception as error:  # noqa: BLE001 - outputs that do not fit each other
            _fail_by_engine(batch, error)

    def _end_badly(self, batch: DeviceBatch, error: BaseException) -> None:
        """What a batch in flight raised: it runs again where that may help, else it failed."""
        if isinstance(error, EngineError):
            self._write_prints(batch, error.prints)
        try:
            self._run_again(batch, error)
        except BaseException as final:  # noqa: BLE001 - as above
            _fail_by_engine(batch, final)

    def _run_again(self, batch: DeviceBatch, error: BaseException) -> None:
        """Put a batch back that its process never began, or that was too large for the device.

        Raises ``error`` where that is not why it failed.
        """
        if isinstance(error, NotBegun):
            self._queue.put_back(batch)
        elif images_of(batch) > 1 and is_out_of_memory(error):
            name, images = batch[0].submission.key.model.name, images_of(batch)
            size = self._queue.put_back_smaller(batch)
            log.warning("no memory on the device for %d images of '%s': now %d", images, name, size)
        else:
            raise error

    def _write_prints(self, batch: DeviceBatch, text: str) -> None:
        jobs = [piece.submission.job for piece in batch]
        self._prints.write(jobs, batch[0].submission.key.model.name, text)


def _launch(engine: StreamingEngine, batch: DeviceBatch, seconds: float) -> PendingRun:
    pieces = [piece.images for piece in batch]
    if isinstance(engine, HostedEngine):
        return engine.launch(pieces, seconds, about=about_of(batch))
    return engine.launch(pieces, seconds)


def _run_now(engine: Engine, batch: DeviceBatch) -> DeviceRun:
    images = [piece.images for piece in batch]
    joined = images[0] if len(images) == 1 else np.concatenate(images)
    started = time.monotonic()
    outputs = engine.run(joined)
    return DeviceRun(outputs, time.monotonic() - started, time.time())


def _fail_by_engine(batch: DeviceBatch, error: BaseException) -> None:
    images = images_of(batch)
    if isinstance(error, EngineError):  # a user's class: its traceback is among its prints
        if images > 1:  # one says so itself
            log.warning("%d images: %s", images, error)
        fail(batch, type(error)(error.message, images=images))
        return
    if not batch[0].alone:
        log.warning("the engine raised on %d images", images, exc_info=error)
    fail(batch, EngineError(one_line(error), images=images))
