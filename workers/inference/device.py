"""The one thread that owns the device, and forms its batches from the chunks that are resident."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np

from shared.errors import HeadraceError, TransientError
from workers.deadline import Renew, deadlines
from workers.inference.batch_sizes import BatchSizes
from workers.inference.engines import Images, Outputs
from workers.inference.errors import EngineError, ModelUnusable, is_out_of_memory, one_line
from workers.inference.models import LoadedModel, LoadedModels, ModelKey

CPU_BATCH_IMAGES = 64
CUDA_BATCH_IMAGES = 256

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Inferred:
    """What came of one submission. ``outputs`` has one entry an image, in their order.

    ``device_seconds`` is its share, by images, of the batches that it was in; ``started_at`` and
    ``ended_at`` are Unix times of the first and last of them.
    """

    model: LoadedModel
    outputs: Outputs
    wait_seconds: float
    device_seconds: float
    started_at: float
    ended_at: float


@dataclass(slots=True, eq=False)
class _Submission:
    key: ModelKey
    pieces: int = 1
    future: Future[Inferred] = field(default_factory=Future)
    submitted: float = field(default_factory=time.monotonic)
    outputs: list[Outputs] = field(default_factory=list)
    wait_seconds: float = 0.0
    device_seconds: float = 0.0
    started_at: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    submission: _Submission
    images: Images
    alone: bool


class DeviceLoop:
    """Runs submissions in their order, in batches of at most ``batch_images``.

    A batch for which the device has no memory is run again in halves, and the model's next ones
    are smaller for a while.

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
        self._pending: deque[_Piece] = deque()
        self._changed = threading.Condition()
        self._closing = False
        # A daemon: a worker that ends has nothing submitted, and no engine may keep it alive.
        self._thread = threading.Thread(target=self._serve, name="device", daemon=True)
        self._thread.start()

    def submit(self, key: ModelKey, images: Images, *, alone: bool = False) -> Future[Inferred]:
        """Run uint8 ``images`` (images, height, width, 3), of which there must be at least one.

        ``alone``: in a batch of its own. The future raises EngineError if the engine raised on
        one of the batches, ModelUnusable, or TransientError where loading may work later. The
        pixels must stay as they are until it is done.
        """
        submission = _Submission(key)
        with self._changed:
            if self._closing:
                raise TransientError("stopping", "The device loop is closed.")
            self._pending.extend(self._split(_Piece(submission, images, alone)))
            self._changed.notify()
        return submission.future

    def close(self) -> None:
        """Finish what is submitted, close the engines, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _serve(self) -> None:
        while batch := self._next_batch():
            try:
                with deadlines.watched() as renew:
                    self._run(batch, renew)
            except (ModelUnusable, TransientError) as error:
                _fail(batch, error)
            except BaseException as error:  # a user's class may raise SystemExit
                if not batch[0].alone:
                    log.warning("the engine raised on %d images", _images(batch), exc_info=True)
                _fail(batch, EngineError(one_line(error)))
        self._models.close()

    def _next_batch(self) -> list[_Piece]:
        """The next batch's pieces, taken off the queue; none when closing and all is done."""
        with self._changed:
            while True:
                while self._pending and self._pending[0].submission.future.done():
                    self._pending.popleft()  # the rest of a submission that failed
                if not self._pending:
                    if self._closing:
                        return []
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

    def _joinable(self) -> tuple[list[_Piece], bool]:
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

    def _split(self, piece: _Piece) -> list[_Piece]:
        """Even parts of a piece, as many as its model's batch size asks for."""
        parts = -(-len(piece.images) // self._sizes.of(piece.submission.key))
        piece.submission.pieces += parts - 1
        return [replace(piece, images=images) for images in np.array_split(piece.images, parts)]

    def _run(self, batch: list[_Piece], renew: Renew) -> None:
        images = [piece.images for piece in batch]
        joined = images[0] if len(images) == 1 else np.concatenate(images)
        key = batch[0].submission.key
        renew(key.load_seconds)
        model = self._models.get(key)
        renew(key.batch_seconds)
        started, started_at = time.monotonic(), time.time()
        try:
            outputs = model.engine.run(joined)
        except BaseException as error:
            if len(joined) == 1 or not is_out_of_memory(error):
                raise
            self._run_smaller(batch)
            return
        self._sizes.ran(key)
        seconds = time.monotonic() - started
        first = 0
        for piece in batch:
            end = first + len(piece.images)
            share = seconds * len(piece.images) / len(joined)
            _deliver(piece.submission, model, outputs[first:end], started, started_at, share)
            first = end

    def _run_smaller(self, batch: list[_Piece]) -> None:
        """Put a batch that was too large back to the front, with whatever waits behind it."""
        key, images = batch[0].submission.key, _images(batch)
        size = self._sizes.shrink(key, images)
        name = key.model.name
        log.warning("no memory on the device for %d images of '%s': now %d", images, name, size)
        with self._changed:
            waiting = [*batch, *self._pending]
            self._pending = deque(chain.from_iterable(map(self._split, waiting)))


def _deliver(
    submission: _Submission,
    model: LoadedModel,
    outputs: Outputs,
    started: float,
    started_at: float,
    share_seconds: float,
) -> None:
    if not submission.outputs:
        submission.wait_seconds = started - submission.submitted
        submission.started_at = started_at
    submission.outputs.append(outputs)
    submission.device_seconds += share_seconds
    if len(submission.outputs) < submission.pieces:
        return
    submission.future.set_result(
        Inferred(
            model=model,
            outputs=_together(submission.outputs),
            wait_seconds=submission.wait_seconds,
            device_seconds=submission.device_seconds,
            started_at=submission.started_at,
            ended_at=time.time(),
        )
    )


def _together(parts: list[Outputs]) -> Outputs:
    if len(parts) == 1:
        return parts[0]
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if len(arrays) == len(parts):
        return np.concatenate(arrays)
    return list(chain.from_iterable(parts))


def _fail(batch: list[_Piece], error: HeadraceError) -> None:
    """Tell each submission, with an error of its own: a shared one would gather frames."""
    for future in [piece.submission.future for piece in batch]:
        if not future.done():
            future.set_exception(type(error)(*error.args))


def _images(batch: list[_Piece]) -> int:
    return sum(len(piece.images) for piece in batch)
