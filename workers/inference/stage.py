"""The inference stage: a batch's pixels become a result. Knows nothing of Celery."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from shared.answers import good_rows
from shared.errors import TransientError
from shared.job import EngineChoice
from shared.ledger import ChunkRef
from shared.messages import Batch, Parcel, Slot
from shared.model import Precision
from shared.patience import retry_while_unavailable
from shared.pipeline import Pipeline
from shared.stages import INFERENCE
from shared.staging import NetworkStaging, SlotGone, StagingRing
from shared.staging.pixel_layout import PixelLayout
from workers.inference.analyst import Analyst, Request
from workers.inference.answering import Answers
from workers.inference.engines import Images
from workers.inference.errors import ClassUnusable, HostUnable, ModelUnusable, model_failure
from workers.inference.pins import JobPins
from workers.inference.results import result_of
from workers.inference.suspects import in_precisions
from workers.runtime import Forward, GiveBack
from workers.suspects import SUSPECT_LOSSES

_T = TypeVar("_T")

STOPPED_JOB_PAUSE_SECONDS = 1.0
REMEMBERED_STOPS = 64

log = logging.getLogger(__name__)


class InferenceStage:
    """Called with a Batch, by several threads at once.

    A model that cannot be loaded ends its job. Where the trouble is this worker's own, as where
    another has loaded it for the job, only the images here fail. A store that does not answer fails
    none, and is waited for. ``on_trial`` answers batches of which an image may be a killer.
    ``note`` tells the ledger which image of a chunk is on trial, and asks how often that was lost.
    ``stop_job`` ends a job as failed, whose model is to blame, not its images.
    ``patience_seconds``: how long a service that does not answer is waited for, at each step; None:
    until it does.
    """

    def __init__(
        self,
        ring: StagingRing,
        network: NetworkStaging | None,
        analyst: Analyst,
        on_trial: Analyst,
        pins: JobPins,
        note: Callable[[ChunkRef, int | None], int],
        stop_job: Callable[[Batch, str], None],
        stopping: threading.Event,
        patience_seconds: float | None = None,
    ) -> None:
        self._ring, self._network = ring, network
        self._analyst, self._on_trial = analyst, on_trial
        self._pins = pins
        self._note = note
        self._stop_job = stop_job
        self._stopped: deque[str] = deque(maxlen=REMEMBERED_STOPS)  # uids of jobs
        self._stopping = stopping
        self._patience_seconds = patience_seconds

    def __call__(self, batch: Batch, losses: int = 0) -> Forward | GiveBack:
        """The result, for the collector. The slot or parcel is free when this returns, however it
        does.

        With two ``losses`` of its holders the batch's images run alone.
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
        except (SlotGone, TransientError) as error:  # or the worker stops while it waits
            log.warning("chunk %d of %s is given back: %s", batch.chunk, batch.job_id, error)
            return GiveBack()

    def _answers(self, batch: Batch, staged: Slot | Parcel, losses: int) -> Answers:
        is_suspect = losses >= SUSPECT_LOSSES
        analyst = self._on_trial if is_suspect else self._analyst
        pipeline, rows = self._pinned(batch), good_rows(batch.answers)
        good = batch.answers.select(["width", "height"]).take(rows).to_pydict()
        with self._views(batch, staged) as views:
            request = Request(
                pipeline=pipeline,
                views=views,
                sizes=list(zip(good["width"], good["height"], strict=True)),
                keys=[batch.keys[row] for row in rows.to_pylist()] if batch.keys else [],
                job=batch.job_id,
                name=str(batch.chunk),
                settle=partial(self._settle, batch),
                note=partial(self._note, batch.ref) if is_suspect else None,
            )
            found = self._patiently(partial(analyst.answer, request))
        for name, engine in found.engines.items():
            # A user's class is recorded now; a network was before it ran.
            settled = self._settle(batch, name, engine)
            if engine.precision not in (None, settled):
                raise TransientError("other_precision", "The job is computed in another precision.")
        return found

    def _pinned(self, batch: Batch) -> Pipeline:
        """The batch's pipeline in its job's precisions, so that no model is loaded in another."""
        names = batch.pipeline.network_analyses
        settled = {name: self._settled(batch, name) for name in names}
        precisions = {name: choice.precision for name, choice in settled.items() if choice}
        return in_precisions(batch.pipeline, precisions)

    def _settled(self, batch: Batch, name: str) -> EngineChoice | None:
        return self._patiently(partial(self._pins.settled, batch, name))

    def _settle(self, batch: Batch, name: str, choice: EngineChoice) -> Precision | None:
        """An analysis's precision in the job. What is loaded stays so while the store is away."""
        return self._patiently(partial(self._pins.settle, batch, name, choice)).precision

    def _patiently(self, action: Callable[[], _T]) -> _T:
        return retry_while_unavailable(
            action, stopping=self._stopping, deadline_seconds=self._patience_seconds
        )

    def _without_model(self, batch: Batch, images: int, error: ModelUnusable) -> Forward | GiveBack:
        """Fail the images of a job that others can compute; end one that nobody could compute."""
        names = error.analyses or tuple(batch.pipeline.network_analyses)
        try:
            if any(self._settled(batch, name) for name in names):
                return _failed(batch, images, error)
        except TransientError as waited:  # too long, or the worker stops
            log.warning("chunk %d of %s is given back: %s", batch.chunk, batch.job_id, waited)
            return GiveBack()
        return self._stop(batch, error)

    def _stop(self, batch: Batch, error: ModelUnusable) -> GiveBack:
        """End the batch's job. Its other chunks are dropped when the producer has taken note."""
        try:
            self._patiently(partial(self._stop_job, batch, str(error)))
            self._stopped.append(batch.job_uid)
            # Sooner, the chunk would only come back again and again.
            self._stopping.wait(STOPPED_JOB_PAUSE_SECONDS)
        except TransientError as waited:  # too long, or the worker stops
            log.warning("%s cannot be ended as failed: %s", batch.job_id, waited)
        return GiveBack()

    @contextmanager
    def _views(self, batch: Batch, staged: Slot | Parcel) -> Iterator[list[Images]]:
        """The staged images of each view, uint8 (images, height, width, 3).

        Raises SlotGone, TransientError.
        """
        views = batch.pipeline.staged_views
        layout = PixelLayout(views, staged.images)

        def read(pixels: Images) -> list[Images]:
            return [layout.array(pixels, number) for number in range(len(views))]

        if isinstance(staged, Slot):
            hold = self._ring.read(staged, batch.ref)
            try:
                yield read(hold.pixels)
            finally:
                hold.release()
        else:
            network = self._network
            if network is None:
                raise SlotGone("slot_gone", "No staging over the network is set up here.")
            yield read(self._patiently(lambda: network.read(batch.ref, layout.total_bytes)))


def _failed(batch: Batch, images: int, error: ModelUnusable) -> Forward:
    """All images that are left fail."""
    failures = dict.fromkeys(range(images), model_failure(str(error)))
    return _forward(batch, Answers(failures=failures))


def _forward(batch: Batch, found: Answers) -> Forward:
    return Forward(batch.pipeline.stage_after(INFERENCE), result_of(batch, found))
