"""Which model a chunk needs, and what it is when it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from shared.job import EngineChoice
from shared.model import EnginePolicy, Model, Precision, PrecisionPolicy
from shared.pipeline import DEFAULT_BATCH_SECONDS, Pipeline, view_of
from shared.placement import Placement, Size
from workers.inference.engines import Engine

# However little time a batch has: fetching weights and importing libraries takes what it takes.
LOAD_SECONDS = 600.0
# A file of 2 GiB over a line of 10 Mbit/s has half an hour more.
SLOWEST_BYTES_PER_SECOND = 1.25e6


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What decides what is loaded: two chunks with one key may share a device batch.

    ``canvas``: width and height of the images, in pixels.
    ``kind``: of the analysis, whose measure decides which precision is good enough, where that is
    open; empty where the precision is known.
    ``batch_seconds``: how long one batch may take; it is no part of the key.
    """

    model: Model
    engine: EnginePolicy
    precision: PrecisionPolicy
    canvas: Size
    kind: str = ""
    batch_seconds: float = field(default=DEFAULT_BATCH_SECONDS, compare=False)

    @classmethod
    def of(cls, pipeline: Pipeline, analysis: str) -> ModelKey:
        """The key of the model of one of the pipeline's analyses."""
        asked, model = pipeline.network_analyses[analysis], pipeline.model_of(analysis)
        is_open = asked.precision == "auto" and model.python_class is None
        return cls(
            model,
            asked.engine,
            asked.precision,
            view_of(asked).canvas,
            asked.kind if is_open else "",
            pipeline.batch_seconds,
        )

    def in_precision(self, precision: Precision | None) -> ModelKey:
        """The key of the same model in that precision; None: a user's class, which names none."""
        return self if precision is None else replace(self, precision=precision, kind="")

    @property
    def load_seconds(self) -> float:
        """How long loading it may take, the files of a user's class included."""
        file_bytes = sum(file.bytes for file in self.model.files)
        return max(LOAD_SECONDS, self.batch_seconds) + file_bytes / SLOWEST_BYTES_PER_SECOND


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
    """An engine that is ready, why it, and the names of its classes (none: they have none).

    ``memory_bytes``: how much memory it takes, by a rough estimate; None: nobody knows.
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


LoadModel = Callable[[ModelKey], LoadedModel]
