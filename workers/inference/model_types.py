"""Which model a chunk needs, and what it is when it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from shared.job import EngineChoice
from shared.pipeline import (
    DEFAULT_BATCH_SECONDS,
    EnginePolicy,
    Model,
    Pipeline,
    Precision,
    PrecisionPolicy,
)
from workers.inference.engines import Engine

# However little time a batch has: fetching weights and importing libraries takes what it takes.
LOAD_SECONDS = 600.0
# A file of 2 GiB over a line of 10 Mbit/s has half an hour more.
SLOWEST_BYTES_PER_SECOND = 1.25e6


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What decides what is loaded: two chunks with one key may share a device batch.

    ``batch_seconds`` is how long one batch may take; it is no part of the key.
    """

    model: Model
    engine: EnginePolicy
    precision: PrecisionPolicy
    image_pixels: int
    batch_seconds: float = field(default=DEFAULT_BATCH_SECONDS, compare=False)

    @classmethod
    def of(cls, pipeline: Pipeline) -> ModelKey:
        """The key of a pipeline's model."""
        size = pipeline.preprocess.crop_pixels
        return cls(
            pipeline.model, pipeline.engine, pipeline.precision, size, pipeline.batch_seconds
        )

    def in_precision(self, precision: Precision | None) -> ModelKey:
        """The key of the same model in that precision; None: a user's class, which names none."""
        return self if precision is None else replace(self, precision=precision)

    @property
    def load_seconds(self) -> float:
        """How long loading it may take, the files of a user's class included."""
        file_bytes = sum(file.bytes for file in self.model.files)
        return max(LOAD_SECONDS, self.batch_seconds) + file_bytes / SLOWEST_BYTES_PER_SECOND


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """An engine that is ready, why it, and the names of its classes (none: they have none)."""

    engine: Engine
    labels: tuple[str, ...] = ()
    reason: str = ""

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
