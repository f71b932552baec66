"""The inference stage: a batch's pixels become a result. Knows nothing of Celery."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from shared.errors import TransientError
from shared.item import ItemFailure
from shared.job import ComputedBy, EngineChoice
from shared.ledger import ChunkRef
from shared.messages import Batch, Parcel, Result, ResultItem, Slot, Timings
from shared.model import Precision
from shared.patience import retry_while_unavailable
from shared.pipeline import Pipeline
from shared.stages import RESULTS
from shared.staging import NetworkStaging, SlotGone, StagingRing
from workers.inference.analyst import Analyst, Answers, Request
from workers.inference.answer_sizes import fitting
from workers.inference.engines import Images
from workers.inference.errors import ClassUnusable, HostUnable, ModelUnusable
from workers.inference.pins import JobPins
from workers.inference.postprocess import Answer, model_failure
from workers.inference.submission import InferenceResult
from workers.runtime import Forward, GiveBack
from workers.suspects import SUSPECT_LOSSES

_T = TypeVar("_T")

STOPPED_JOB_PAUSE_SECONDS = 1.0
REMEMBERED_STOPS = 64


class InferenceStage:
    """Called with a Batch, by several threads at once.

    A model that cannot be loaded ends its job. Where the trouble is this worker's own, as where
    another has loaded it for the job, only the images here fail. A store that does not answer fails
    none, and is waited for. ``in_child`` answers batches of which an image may be a killer.
    ``note`` tells the ledger which image of a chunk is on trial, and asks how often that was lost.
    ``stop_job`` ends a job as failed, whose model is to blame, not its images.
    """

    def __init__(
        self,
        ring: StagingRing,
        network: NetworkStaging | None,
        analyst: Analyst,
        in_child: Analyst,
        pins: JobPins,
        note: Callable[[ChunkRef, int | None], int],
        stop_job: Callable[[Batch, str], None],
        stopping: threading.Event,
    ) -> None:
        self._ring, self._network = ring, network
        self._analyst, self._in_child = analyst, in_child
        self._pins = pins
        self._note = note
        self._stop_job = stop_job
        self._stopped: deque[str] = deque(maxlen=REMEMBERED_STOPS)  # uids of jobs
        self._stopping = stopping

    def __call__(self, batch: Batch, losses: int = 0) -> Forward | GiveBack:
        """The result, for the collector. The slot or parcel is free when this returns, however it
        does.

        With two ``losses`` of its holders the batch's images run alone: in a child, where a killer
        dies without us, or, with a user's class, which has a process of its own, in our sight.
        """
        if batch.staged is None or not batch.staged.images:
            return _forward(batch, Answers())
        if batch.job_uid in self._stopped:  # the producer takes note within a second or so
            self._stopping.wait(STOPPED_JOB_PAUSE_SECONDS)
            return GiveBack()
        try:
            return _forward(batch, self._answers(batch, batch.staged, losses))
        except ClassUnusable as error:
            return self._stop(batch, error)
        except HostUnable as error:
            return _failed(batch, batch.staged.images, error)
        except ModelUnusable as error:
            return self._without_model(batch, batch.staged.images, error)
        except (SlotGone, TransientError):  # or the worker stops before the model can be had
            return GiveBack()

    def _answers(self, batch: Batch, staged: Slot | Parcel, losses: int) -> Answers:
        is_suspect = losses >= SUSPECT_LOSSES
        has_own_process = batch.pipeline.model.python_class is not None
        analyst = self._in_child if is_suspect and not has_own_process else self._analyst
        with self._images(batch, staged) as images:
            request = Request(
                pipeline=self._pinned(batch),
                images=images,
                job=batch.job_id,
                name=str(batch.chunk),
                settle=partial(self._settle, batch),
                note=partial(self._note, batch.ref) if is_suspect else None,
            )
            found = self._patiently(partial(analyst.answer, request))
        engine = found.engine
        if engine is not None:  # a user's class is recorded now; a network was before it ran
            settled = self._settle(batch, engine)
            if engine.precision not in (None, settled):
                raise TransientError("other_precision", "The job is computed in another precision.")
        return found

    def _pinned(self, batch: Batch) -> Pipeline:
        """The batch's pipeline in its job's precision, so that no model is loaded in another."""
        settled = self._patiently(partial(self._pins.settled, batch))
        if settled is None or settled.precision is None:
            return batch.pipeline
        return batch.pipeline.model_copy(update={"precision": settled.precision})

    def _settle(self, batch: Batch, choice: EngineChoice) -> Precision | None:
        """The precision of the batch's job. What is loaded stays so while the store is away."""
        return self._patiently(partial(self._pins.settle, batch, choice)).precision

    def _patiently(self, action: Callable[[], _T]) -> _T:
        return retry_while_unavailable(action, stopping=self._stopping)

    def _without_model(self, batch: Batch, images: int, error: ModelUnusable) -> Forward | GiveBack:
        """Fail the images of a job that others can compute; end one that nobody could compute."""
        try:
            settled = self._patiently(partial(self._pins.settled, batch))
        except TransientError:  # the worker stops
            return GiveBack()
        if settled is not None:
            return _failed(batch, images, error)
        return self._stop(batch, error)

    def _stop(self, batch: Batch, error: ModelUnusable) -> GiveBack:
        """End the batch's job. Its other chunks are dropped when the producer has taken note."""
        try:
            self._patiently(partial(self._stop_job, batch, str(error)))
            self._stopped.append(batch.job_uid)
            # Sooner, the chunk would only come back again and again.
            self._stopping.wait(STOPPED_JOB_PAUSE_SECONDS)
        except TransientError:  # the worker stops
            pass
        return GiveBack()

    @contextmanager
    def _images(self, batch: Batch, staged: Slot | Parcel) -> Iterator[Images]:
        """The staged pixels, uint8 (images, height, width, 3). Raises SlotGone, TransientError."""
        preprocess = batch.pipeline.preprocess
        shape = (staged.images, preprocess.crop_pixels, preprocess.crop_pixels, 3)
        used_bytes = staged.images * preprocess.image_bytes
        if isinstance(staged, Slot):
            hold = self._ring.read(staged, batch.ref)
            try:
                yield hold.pixels[:used_bytes].reshape(shape)
            finally:
                hold.release()
        else:
            network = self._network
            if network is None:
                raise SlotGone("slot_gone", "No staging over the network is set up here.")
            pixels = self._patiently(lambda: network.read(batch.ref, used_bytes))
            yield pixels.reshape(shape)


def _failed(batch: Batch, images: int, error: ModelUnusable) -> Forward:
    return _forward(batch, Answers([model_failure(str(error))] * images))


def _forward(batch: Batch, found: Answers) -> Forward:
    result = batch.onward(
        Result,
        items=_items(batch, fitting(found.answers)),
        **(found.engine or ComputedBy()).engine_fields(),
        timings=_timings(batch.timings, found.runs),
    )
    return Forward(RESULTS, result)


def _items(batch: Batch, given: list[Answer]) -> list[ResultItem]:
    """The batch's items in their order; those that failed before have no answer."""
    remaining = iter(given)
    items = []
    for staged in batch.items:
        answer: Answer = staged.failure or next(remaining)
        failed = isinstance(answer, ItemFailure)
        items.append(
            ResultItem(
                item=staged.item,
                width=staged.width,
                warning=staged.warning,
                height=staged.height,
                failure=answer if failed else None,
                predictions=[] if failed else answer,
            )
        )
    return items


def _timings(before: Timings, runs: list[InferenceResult]) -> Timings:
    if not runs:
        return before
    return before.model_copy(
        update={
            "device_wait_seconds": runs[0].wait_seconds,
            "device_seconds": sum(run.device_seconds for run in runs),
            "device_started_at": min(run.started_at for run in runs),
            "device_ended_at": max(run.ended_at for run in runs),
        }
    )
