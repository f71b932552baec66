"""Which model a chunk needs, and what it is when it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt

from shared.analyses import NetworkAnalysis
from shared.job import EngineChoice
from shared.model import EnginePolicy, Model, Precision, PrecisionPolicy
from shared.pipeline import DEFAULT_BATCH_SECONDS, Pipeline, view_of
from shared.placement import Placement, Size
from shared.views import View
from workers.inference.engines import Engine
from workers.inference.heads import NetworkOutputs

# However little time a batch has: fetching weights and importing libraries takes what it takes.
LOAD_SECONDS = 600.0
# A file of 2 GiB over a line of 10 Mbit/s has half an hour more.
SLOWEST_BYTES_PER_SECOND = 1.25e6


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What decides what is loaded: two chunks with one key may share a device batch.

    ``canvas``: width and height of the images, in pixels.
    ``kinds``: of the analyses that share the model's run, by whose measures a precision has to be
    good enough where it is open; none where it is known.
    ``batch_seconds``: how long one batch may take; it is no part of the key.
    """

    model: Model
    engine: EnginePolicy
    precision: PrecisionPolicy
    canvas: Size
    kinds: tuple[str, ...] = ()
    batch_seconds: float = field(default=DEFAULT_BATCH_SECONDS, compare=False)

    @classmethod
    def of(cls, pipeline: Pipeline, analysis: str) -> ModelKey:
        """The key of the model of one of the pipeline's analyses.

        Analyses that ask alike of one model in one view have one key: one run that is good enough
        for the strictest costs less than one run for each.
        """
        asked, model = pipeline.network_analyses[analysis], pipeline.model_of(analysis)
        kinds: set[str] = set()
        if asked.precision == "auto" and model.python_class is None:
            wanted = _asked_of_model(asked)
            others = pipeline.network_analyses.values()
            kinds = {other.kind for other in others if _asked_of_model(other) == wanted}
        return cls(
            model,
            asked.engine,
            asked.precision,
            view_of(asked).canvas,
            tuple(sorted(kinds)),
            pipeline.batch_seconds,
        )

    def in_precision(self, precision: Precision | None) -> ModelKey:
        """The key of the same model in that precision; None: a user's class, which names none."""
        return self if precision is None else replace(self, precision=precision, kinds=())

    @property
    def load_seconds(self) -> float:
        """How long loading it may take, the files of a user's class included."""
        file_bytes = sum(file.bytes for file in self.model.files)
        return max(LOAD_SECONDS, self.batch_seconds) + file_bytes / SLOWEST_BYTES_PER_SECOND


def _asked_of_model(analysis: NetworkAnalysis) -> tuple[str, View, EnginePolicy, PrecisionPolicy]:
    return analysis.model, view_of(analysis), analysis.engine, analysis.precision


@dataclass(frozen=True, slots=True)
class AboutImage:
    """What a user's class may ask about an image.

    ``key``: of its object. ``width``, ``height``: of the upright original, in pixels.
    ``placement``: where it lies on the canvas that the class gets.
    """

    key: str
    width: int
    height: int
    placement: Placement


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """An engine that is ready, why it was chosen, and the names of its classes, if they have any.

    ``memory_bytes``: how much memory it takes, by a rough estimate; None: a user's class, which is
    measured where it runs.
    """

    engine: Engine
    labels: tuple[str, ...] = ()
    reason: str = ""
    memory_bytes: int | None = None

    @property
    def choice(self) -> EngineChoice:
        """What computes, as results and jobs keep it."""
        engine = self.engine
        return EngineChoice(
            engine=engine.name,
            precision=engine.precision,
            device=engine.device,
            reason=self.reason[:500],
        )


def network_outputs(key: ModelKey, arrays: tuple[npt.NDArray[Any], ...]) -> NetworkOutputs:
    """What the engine of a network gave, under the names of its outputs."""
    by_name = dict(zip(key.model.outputs, arrays, strict=True))
    return NetworkOutputs(by_name, key.model.layout, key.canvas)


LoadModel = Callable[[ModelKey], LoadedModel]
