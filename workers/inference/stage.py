"""The inference stage: a batch's pixels become a result. Knows nothing of Celery."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from shared.errors import TransientError
from shared.job import ComputedBy, EngineChoice
from shared.ledger import ChunkRef
from shared.messages import Batch, ItemFailure, Parcel, Result, ResultItem, Slot, Timings
from shared.patience import patiently
from shared.pipeline import Postprocess
from shared.stages import RESULTS, queue_name
from shared.staging import NetworkStaging, SlotGone, StagingRing
from workers.inference.alone import Alone
from workers.inference.answer_sizes import fitting
from workers.inference.device import DeviceLoop
from workers.inference.engines import Images
from workers.inference.errors import ClassUnusable, EngineError, HostUnable, ModelUnusable
from workers.inference.models import ModelKey
from workers.inference.pins import JobPins
from workers.inference.postprocess import Answer, answers, model_failure
from workers.inference.submission import Inferred
from workers.inference.suspects import try_alone
from workers.runtime import Forward, GiveBack
from workers.suspects import MOST_LOST_RUNS, SUSPECT_LOSSES

STOPPED_JOB_PAUSE_SECONDS = 1.0
REMEMBERED_STOPS = 64


@dataclass(frozen=True, slots=True)
class _Outcome:
    """An answer for each image, and the runs of the device that led to them."""

    answers: list[Answer] = field(default_factory=list)
    runs: list[Inferred] = field(default_factory=list)
    engine: EngineChoice | None = None


class InferenceStage:
    """Called with a Batch, by several threads at once.

    A batch on which the engine raises, or a user's class ends its process, is narrowed to single
    images at once, so that only those that do so alone fail. A model that cannot be loaded ends its
    job. Where the trouble is this worker's own, as where another has computed some of the job, only
    the images here fail. A store that does not answer fails none, and is waited for. A batch that
    was computed in another precision than its job's is computed again.
    ``note`` tells the ledger which image of a chunk is on trial, and asks how often that was lost.
    ``stop_job`` ends a job as failed, whose model is to blame, not its images.
    """

    def __init__(
        self,
        ring: StagingRing,
        network: NetworkStaging | None,
        device: DeviceLoop,
        pins: JobPins,
        note: Callable[[ChunkRef, int | None], int],
        stop_job: Callable[[Batch, str], None],
        stopping: threading.Event,
    ) -> None:
        self._ring, self._network = ring, network
        self._device = device
        self._pins = pins
        self._note = note
        self._stop_job = stop_job
        self._alone = Alone(device)
        self._stopped: deque[str] = deque(maxlen=REMEMBERED_STOPS)  # uids of jobs
        self._stopping = stopping

    def __call__(self, batch: Batch, losses: int = 0) -> Forward | GiveBack:
        """The result, for the collector. The slot or parcel is free when this returns, however it
        does.

        With two ``losses`` of its holders the batch's images run alone: in a child, where a killer
        dies without us, or, with a user's class, which has a process of its own, in our sight.
        """
        if batch.staged is None or not batch.staged.images:
            return _forward(batch, _Outcome())
        if batch.job_uid in self._stopped:  # the producer takes note within a second or so
            self._stopping.wait(STOPPED_JOB_PAUSE_SECONDS)
            return GiveBack()
        infer = self._infer
        if losses >= SUSPECT_LOSSES:
            is_class = batch.pipeline.model.python_class is not None
            infer = self._infer_noted if is_class else self._infer_in_child
        try:
            with self._images(batch, batch.staged) as images:
                outcome = patiently(
                    lambda: self._in_one_precision(batch, images, infer), stopping=self._stopping
                )
        except ClassUnusable as error:
            return self._stop(batch, error)
        except HostUnable as error:
            return _failed(batch, batch.staged.images, error)
        except ModelUnusable as error:
            return self._without_model(batch, batch.staged.images, error)
        except (SlotGone, TransientError):  # or the worker stops before the model can be had
            return GiveBack()
        return _forward(batch, outcome)

    def _without_model(self, batch: Batch, images: int, error: ModelUnusable) -> Forward | GiveBack:
        """Fail the images of a job that others can compute; end one that nobody has computed."""
        try:
            is_computed = patiently(partial(self._pins.is_computed, batch), stopping=self._stopping)
        except TransientError:  # the worker stops
            return GiveBack()
        if is_computed:
            return _failed(batch, images, error)
        return self._stop(batch, error)

    def _stop(self, batch: Batch, error: ModelUnusable) -> GiveBack:
        """End the batch's job. Its other chunks are dropped when the producer has taken note."""
        try:
            patiently(partial(self._stop_job, batch, str(error)), stopping=self._stopping)
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
            pixels = patiently(lambda: network.read(batch.ref, used_bytes), stopping=self._stopping)
            yield pixels.reshape(shape)

    def _in_one_precision(
        self, batch: Batch, images: Images, infer: Callable[[Batch, Images], _Outcome]
    ) -> _Outcome:
        outcome = infer(self._pins.pinned(batch), images)
        if outcome.engine is None or self._pins.allows(batch, outcome.engine):
            return outcome
        return infer(self._pins.pinned(batch), images)

    def _infer(self, batch: Batch, images: Images) -> _Outcome:
        key, postprocess = ModelKey.of(batch.pipeline), batch.pipeline.postprocess
        try:
            run = self._device.submit(key, images, job=batch.job_id).result()
            self._alone.ran_well(batch.job_id)
            return _Outcome(_answers(run, postprocess), [run], run.model.choice)
        except EngineError as error:
            return self._infer_one_by_one(batch, images, in_batch=error)

    def _infer_noted(self, batch: Batch, images: Images) -> _Outcome:
        """Single images of a user's class that may have ended our process, not only its own."""

        def begin(row: int | None) -> None:
            lost_runs = self._note(batch.ref, row)
            if lost_runs >= MOST_LOST_RUNS:
                name = batch.pipeline.model.python_class
                raise ClassUnusable(
                    f"The worker died {lost_runs} times while '{name}' ran one image, alone."
                )

        outcome = self._infer_one_by_one(batch, images, begin)
        begin(None)
        return outcome

    def _infer_one_by_one(
        self,
        batch: Batch,
        images: Images,
        begin: Callable[[int], object] = lambda _: None,
        in_batch: EngineError | None = None,
    ) -> _Outcome:
        """``begin`` is called with the number of each image before it runs.

        ``in_batch`` is what all of them together led to.
        """
        outcome, key = _Outcome(), ModelKey.of(batch.pipeline)
        for row in range(len(images)):
            if self._stopping.is_set():
                raise TransientError("stopping", "The worker is stopping.")
            begin(row)
            name = f"{batch.chunk} {row}"
            image = images[row : row + 1]
            run = self._alone.run(key, image, batch.job_id, name, in_batch)
            if isinstance(run, ItemFailure):
                outcome.answers.append(run)
            else:
                outcome.answers.extend(_answers(run, batch.pipeline.postprocess))
                outcome.runs.append(run)
        engine = outcome.runs[0].model.choice if outcome.runs else None
        return replace(outcome, engine=engine)

    def _infer_in_child(self, batch: Batch, images: Images) -> _Outcome:
        note = partial(self._note, batch.ref)
        tried = try_alone(batch.pipeline, images, note, self._stopping)
        return _Outcome(tried.answers, engine=tried.engine)


def _answers(run: Inferred, postprocess: Postprocess) -> list[Answer]:
    return answers(run.outputs, run.model.labels, postprocess)


def _failed(batch: Batch, images: int, error: ModelUnusable) -> Forward:
    return _forward(batch, _Outcome([model_failure(str(error))] * images))


def _forward(batch: Batch, outcome: _Outcome) -> Forward:
    engine = outcome.engine
    result = Result(
        incarnation=batch.incarnation,
        job_id=batch.job_id,
        job_uid=batch.job_uid,
        chunk=batch.chunk,
        attempt=batch.attempt,
        pipeline=batch.pipeline,
        items=_items(batch, fitting(outcome.answers)),
        **(engine or ComputedBy()).engine_fields(),
        timings=_timings(batch.timings, outcome.runs),
    )
    return Forward(RESULTS, queue_name(RESULTS), result)


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


def _timings(before: Timings, runs: list[Inferred]) -> Timings:
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
