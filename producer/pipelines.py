"""A pipeline as ``pipelines show --json`` prints it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from shared.pipeline import (
    DeadlineSeconds,
    EnginePolicy,
    Postprocess,
    PrecisionPolicy,
    Preprocess,
)


class ModelView(BaseModel):
    """The model: with ``python`` a class, else weights of a version.

    ``modules`` are the files of the class's code, by paths relative to ``folder``.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    python: str | None = None
    folder: str | None = None
    modules: list[str] | None = None
    sha256: str | None = None
    architecture: str | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    licence: str | None = None


class PipelineView(BaseModel):
    """A pipeline with all that follows from its model and from defaults."""

    model_config = ConfigDict(extra="forbid")

    name: str
    path: str
    description: str
    preprocess: Preprocess
    model: ModelView
    files: list[str] = []
    environment: list[str] = []
    engine: EnginePolicy
    precision: PrecisionPolicy
    batch_seconds: DeadlineSeconds
    postprocess: Postprocess
