"""Pixels in, values out: the port ``Analyst``, and the analyst that uses this process's device.

Knows no message, queue or ledger. The other analyst, in a child, is in ``suspects.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Protocol

from shared.errors import TransientError
from shared.item import ItemFailure
from shared.job import EngineChoice
from shared.model import Precision
from shared.pipeline import Pipeline
from shared.placement import Size
from workers.inference.alone import Alone
from workers.inference.answering import Answers, Group, GroupRun, answers_from, grouped, naming
from workers.inference.device import DeviceLoop
from workers.inference.engines import Images
from workers.inference.errors import ClassUnusable, EngineError, of_analyses
from workers.inference.model_types import AboutImage, ModelKey
from workers.inference.submission import InferenceResult
from workers.suspects import MAX_LOST_RUNS, Note

# Given an analysis and what computes its model here, says in which precision the job computes it.
Settle = Callable[[str, EngineChoice], Precision | None]


@dataclass(frozen=True, slots=True)
class Request:
    """Images of one chunk, and what is asked of them.

    ``views``: of each of the pipeline's staged views, uint8 (images, height, width, 3).
    ``sizes``: width and height of each original image.
    ``keys``: of the images, where the pipeline has a user's class.
    ``job``: whose log gets what a user's class prints.
    ``name``: names the images together with their place.
    ``settle``: is asked about every analysis before a network computes anything.
    ``note``: notes which image is on trial, where one of them may be a killer; each runs alone.
    ``analyses``: the names of those that are asked for; None: all by a model.
    ``failed``: images that need no answer any more, by their numbers. Only on trial.
    """

    pipeline: Pipeline
    views: Sequence[Images]
    sizes: Sequence[Size]
    keys: Sequence[str]
    job: str
    name: str
    settle: Settle
    note: Note | None = None
    analyses: Collection[str] | None = None
    failed: Mapping[int, ItemFailure] = field(default_factory=dict)

    @property
    def model_keys(self) -> dict[str, ModelKey]:
        """The key of each analysis's model, by the names of those that are asked for."""
        names = self.pipeline.network_analyses
        asked = [name for name in names if self.analyses is None or name in self.analyses]
        return {name: ModelKey.of(self.pipeline, name) for name in asked}

    def about(self, group: Group, first: int, end: int) -> list[AboutImage] | None:
        """What a user's class may ask of these images; None for a network."""
        if group.key.model.python_class is None:
            return None
        view = self.pipeline.staged_views[group.view]
        return [
            AboutImage(key, *size, view.place(size))
            for key, size in zip(self.keys[first:end], self.sizes[first:end], strict=True)
        ]


class Analyst(Protocol):
    """Answers requests. Thread-safe."""

    def answer(self, request: Request) -> Answers:
        """The answers to all analyses that are asked for.

        Raises ModelUnusable where a model cannot be loaded, HostUnable where that may be this
        machine's own trouble, ClassUnusable where a user's class is to blame, and TransientError
        where trying again may help or the worker stops.
        """
        ...


class DeviceAnalyst:
    """Answers on this process's device.

    Equal analyses share a run. A batch on which the engine raises, or a user's class ends its
    process, is narrowed to single images at once, so that only those that do so alone fail.
    """

    def __init__(self, device: DeviceLoop, stopping: threading.Event) -> None:
        self._device = device
        self._alone = Alone(device)
        self._stopping = stopping

    def answer(self, request: Request) -> Answers:
        """See ``Analyst``. On trial it answers for users' classes, which die without us."""
        with self._device.keeping(request.model_keys.values()):
            return self._answer(request)

    def _answer(self, request: Request) -> Answers:
        if request.note is not None:
            groups = grouped(request.pipeline, request.model_keys)
            return self._on_trial(request, groups, request.note)
        groups = grouped(request.pipeline, self._settled(request))
        runs = []
        for group, future in zip(groups, self._submitted(request, groups), strict=True):
            try:
                with of_analyses(*group.analyses):
                    run = future.result()
            except EngineError as error:
                runs += self._one_by_one(request, [group], in_batch=error)
            else:
                self._alone.ran_well(group.key, request.job)
                runs.append(GroupRun(group, 0, len(request.sizes), run))
        return answers_from(request.pipeline, runs, request.sizes)

    def _settled(self, request: Request) -> dict[str, ModelKey]:
        """The keys of the models; a network's in the job's precision, which is settled first."""
        keys = request.model_keys
        prepared = {
            key: self._device.prepare(key)
            for key in keys.values()
            if key.model.python_class is None
        }
        for name, key in keys.items():
            if key in prepared:
                with of_analyses(name):
                    choice = prepared[key].result()
                keys[name] = key.in_precision(request.settle(name, choice))
        return keys

    def _submitted(self, request: Request, groups: list[Group]) -> list[Future[InferenceResult]]:
        """The runs of all groups. All are done: the pixels may go."""
        count = len(request.sizes)
        futures: list[Future[InferenceResult]] = []
        try:
            for group in groups:
                futures.append(
                    self._device.submit(
                        group.key,
                        request.views[group.view],
                        job=request.job,
                        about=request.about(group, 0, count),
                    )
                )
        finally:
            wait(futures)
        return futures

    def _on_trial(self, request: Request, groups: list[Group], note: Note) -> Answers:
        """Each image alone, since one may have ended our process, not only its own."""

        def begin(row: int) -> None:
            lost_runs = note(row)
            if lost_runs >= MAX_LOST_RUNS:
                names = " or ".join(f"'{group.key.model.python_class}'" for group in groups)
                raise ClassUnusable(
                    f"The worker died {lost_runs} times while {names} ran one image, alone."
                )

        runs = self._one_by_one(request, groups, begin)
        note(None)
        return answers_from(request.pipeline, runs, request.sizes)

    def _one_by_one(
        self,
        request: Request,
        groups: list[Group],
        begin: Callable[[int], object] = lambda _: None,
        in_batch: EngineError | None = None,
    ) -> list[GroupRun]:
        """``begin`` is called with the number of each image before it runs.

        ``in_batch`` is what all of them together led to.
        """
        runs = []
        for row in range(len(request.sizes)):
            if row in request.failed:
                runs += [GroupRun(group, row, row + 1, request.failed[row]) for group in groups]
                continue
            if self._stopping.is_set():
                raise TransientError("stopping", "The worker is stopping.")
            begin(row)
            runs += [self._run_alone(request, group, row, in_batch) for group in groups]
        return runs

    def _run_alone(
        self, request: Request, group: Group, row: int, in_batch: EngineError | None
    ) -> GroupRun:
        image, name = request.views[group.view][row : row + 1], f"{request.name} {row}"
        about = request.about(group, row, row + 1)
        with of_analyses(*group.analyses):
            was_alone = len(request.sizes) == 1 and in_batch is not None and in_batch.images == 1
            run = self._alone.run(
                group.key, image, request.job, name, about, in_batch, was_alone=was_alone
            )
        if isinstance(run, ItemFailure):
            run = naming(request.pipeline, group.analyses[0], run)
        return GroupRun(group, row, row + 1, run)
