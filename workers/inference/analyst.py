"""Pixels in, values out: the port ``Analyst``, and the analyst that uses this process's device.

Knows no message, queue or ledger. The other analyst, in a child, is in ``suspects.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from shared.errors import TransientError
from shared.item import ItemFailure
from shared.job import EngineChoice
from shared.model import Precision
from shared.pipeline import Pipeline, Postprocess
from workers.inference.alone import Alone
from workers.inference.device import DeviceLoop
from workers.inference.engines import Images
from workers.inference.errors import ClassUnusable, EngineError
from workers.inference.model_types import ModelKey
from workers.inference.postprocess import Answer, answers
from workers.inference.submission import InferenceResult
from workers.suspects import MAX_LOST_RUNS, Note

# Given what computes the job's model here, says in which precision the job is computed.
Settle = Callable[[EngineChoice], Precision | None]


@dataclass(frozen=True, slots=True)
class Request:
    """Images of one chunk, and what is asked of them.

    ``images``: uint8 (images, height, width, 3).
    ``job``: whose log gets what a user's class prints.
    ``name``: names the images together with their place.
    ``settle``: is asked before a network computes anything.
    ``note``: notes which image is on trial, where one of them may be a killer; each runs alone.
    """

    pipeline: Pipeline
    images: Images
    job: str
    name: str
    settle: Settle
    note: Note | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """An answer for each image, the runs of the device that led to them, and what computed."""

    answers: list[Answer] = field(default_factory=list)
    runs: list[InferenceResult] = field(default_factory=list)
    engine: EngineChoice | None = None


class Analyst(Protocol):
    """Answers requests. Thread-safe."""

    def answer(self, request: Request) -> Answers:
        """An answer for each image, in their order.

        Raises ModelUnusable where the model cannot be loaded, HostUnable where that may be this
        machine's own trouble, ClassUnusable where a user's class is to blame, and TransientError
        where trying again may help or the worker stops.
        """
        ...


class DeviceAnalyst:
    """Answers on this process's device.

    A batch on which the engine raises, or a user's class ends its process, is narrowed to single
    images at once, so that only those that do so alone fail.
    """

    def __init__(self, device: DeviceLoop, stopping: threading.Event) -> None:
        self._device = device
        self._alone = Alone(device)
        self._stopping = stopping

    def answer(self, request: Request) -> Answers:
        """See ``Analyst``. Images on trial are those of a user's class, in a process of its own."""
        if request.note is not None:
            return self._on_trial(request, request.note)
        key = self._key(request)
        try:
            run = self._device.submit(key, request.images, job=request.job).result()
        except EngineError as error:
            return self._one_by_one(request, key, in_batch=error)
        self._alone.ran_well(request.job)
        return Answers(_answers(run, request.pipeline.postprocess), [run], run.model.choice)

    def _key(self, request: Request) -> ModelKey:
        """The key of the model; a network's in the job's precision, which is settled first."""
        key = ModelKey.of(request.pipeline)
        if key.model.python_class is not None:
            return key
        return key.in_precision(request.settle(self._device.prepare(key).result()))

    def _on_trial(self, request: Request, note: Note) -> Answers:
        """Each image alone, since one may have ended our process, not only its own."""

        def begin(row: int) -> None:
            lost_runs = note(row)
            if lost_runs >= MAX_LOST_RUNS:
                name = request.pipeline.model.python_class
                raise ClassUnusable(
                    f"The worker died {lost_runs} times while '{name}' ran one image, alone."
                )

        found = self._one_by_one(request, ModelKey.of(request.pipeline), begin)
        note(None)
        return found

    def _one_by_one(
        self,
        request: Request,
        key: ModelKey,
        begin: Callable[[int], object] = lambda _: None,
        in_batch: EngineError | None = None,
    ) -> Answers:
        """``begin`` is called with the number of each image before it runs.

        ``in_batch`` is what all of them together led to.
        """
        given: list[Answer] = []
        runs: list[InferenceResult] = []
        for row in range(len(request.images)):
            if self._stopping.is_set():
                raise TransientError("stopping", "The worker is stopping.")
            begin(row)
            image, name = request.images[row : row + 1], f"{request.name} {row}"
            run = self._alone.run(key, image, request.job, name, in_batch)
            if isinstance(run, ItemFailure):
                given.append(run)
            else:
                given.extend(_answers(run, request.pipeline.postprocess))
                runs.append(run)
        return Answers(given, runs, runs[0].model.choice if runs else None)


def _answers(run: InferenceResult, postprocess: Postprocess) -> list[Answer]:
    return answers(run.outputs, run.model.labels, postprocess)
