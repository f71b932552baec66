"""A pipeline by value: what every job and every message carries, with nothing left to look up."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Its length is bounded apart: a hundred times all letters of Unicode take 80 ms to compile, for
# each of the models that this is in, at the start of every process and command.
PythonClass = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", max_length=201)]
Channels = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
SidePixels = Annotated[int, Field(ge=1, le=4096)]
ObjectBytes = Annotated[int, Field(ge=1, le=2**30)]
AreaPixels = Annotated[int, Field(ge=1, le=10**9)]
DeadlineSeconds = Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)]
DEFAULT_BATCH_SECONDS = 600.0

EngineName = Literal["torch", "onnxruntime", "openvino", "python"]
EnginePolicy = Literal["auto", "torch", "onnxruntime", "openvino"]
Precision = Literal["float32", "bfloat16", "float16"]
PrecisionPolicy = Literal["auto", "float32", "bfloat16", "float16"]


class Frozen(BaseModel):
    """Base of everything that travels: unknown fields refused, no change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Preprocess(Frozen):
    """Resize the shorter side (antialiased bilinear), then crop a centred square.

    The result is uint8 RGB of shape (crop_pixels, crop_pixels, 3). A process that takes longer than
    ``item_seconds`` over one image hangs, and is ended.
    """

    resize_shorter_pixels: SidePixels = 256
    crop_pixels: SidePixels = 224
    max_object_bytes: ObjectBytes = 64 * 2**20
    max_pixels: AreaPixels = 100_000_000
    item_seconds: DeadlineSeconds = 60.0

    @model_validator(mode="after")
    def _crop_fits(self) -> Preprocess:
        if self.crop_pixels > self.resize_shorter_pixels:
            raise ValueError("crop_pixels must not exceed resize_shorter_pixels")
        return self

    @property
    def image_bytes(self) -> int:
        """Bytes of one preprocessed image."""
        return self.crop_pixels * self.crop_pixels * 3


class Postprocess(Frozen):
    """Scores to predictions: softmax over the classes, then the ``top_k`` best."""

    top_k: int = Field(default=5, ge=1, le=100)
    softmax: bool = True


class Model(Frozen):
    """Which model: its name, its version, and how it becomes something that runs.

    Exactly one of ``architecture`` (weights in the models bucket under ``name/sha256``) and
    ``python_class`` (``module:Class`` under the plugins folder) is set. ``mean`` and ``std`` are
    per RGB channel, for pixels scaled to 0..1. ``sha256`` is that of the weights file, or of the
    file that defines the class (``shared.plugins``).
    """

    name: Name
    sha256: Sha256
    architecture: str | None = Field(default=None, max_length=100)
    python_class: PythonClass | None = None
    mean: Channels = (0.0, 0.0, 0.0)
    std: Channels = (1.0, 1.0, 1.0)

    @model_validator(mode="after")
    def _one_kind(self) -> Model:
        if (self.architecture is None) == (self.python_class is None):
            raise ValueError("exactly one of architecture and python_class is needed")
        if min(self.std) <= 0:
            raise ValueError("std must be above zero")
        return self


class Pipeline(Frozen):
    """A resolved pipeline. ``sha256`` identifies its content.

    A process that takes longer than ``batch_seconds`` over one device batch hangs, and is ended.
    """

    name: Name
    preprocess: Preprocess = Preprocess()
    model: Model
    engine: EnginePolicy = "auto"
    precision: PrecisionPolicy = "auto"
    batch_seconds: DeadlineSeconds = DEFAULT_BATCH_SECONDS
    postprocess: Postprocess = Postprocess()

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON form."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
