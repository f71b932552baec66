"""A pipeline by value: what every job and every message carries, with nothing left to look up."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    model_validator,
)

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
TopK = Annotated[int, Field(ge=1, le=100)]
DEFAULT_BATCH_SECONDS = 600.0

# Source code is small; what is larger is data, and belongs under ``files:``.
MAX_CODE_BYTES = 16 * 2**20
MAX_FILE_BYTES = 2 * 2**30
MAX_FILES = 64
MAX_VARIABLES = 64
_MAX_NAME_BYTES = 255  # of one part of a path, on Linux

EngineName = Literal["torch", "onnxruntime", "openvino", "python"]
EnginePolicy = Literal["auto", "torch", "onnxruntime", "openvino"]
Precision = Literal["float32", "bfloat16", "float16"]
PrecisionPolicy = Literal["auto", "float32", "bfloat16", "float16"]


class Frozen(BaseModel):
    """Base of everything that travels: unknown fields refused, no change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Decode = Literal["lenient", "strict"]
SixteenBit = Literal["scale", "high_byte"]


class Preprocess(Frozen):
    """Resize the shorter side (antialiased bilinear), then crop a centred square.

    The result is uint8 RGB of shape (crop_pixels, crop_pixels, 3). A process that takes longer than
    ``item_seconds`` over one image hangs, and is ended.

    ``decode``: what becomes of an image whose data is damaged in parts; ``lenient`` keeps it with a
    warning, ``strict`` fails it. ``sixteen_bit``: how samples of 16 bits become 8; ``scale`` goes
    by the bits that the image fills, ``high_byte`` takes the upper half of them always.
    """

    resize_shorter_pixels: SidePixels = 256
    crop_pixels: SidePixels = 224
    max_object_bytes: ObjectBytes = 64 * 2**20
    max_pixels: AreaPixels = 100_000_000
    item_seconds: DeadlineSeconds = 60.0
    decode: Decode = "lenient"
    sixteen_bit: SixteenBit = "scale"

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
    """Scores to predictions: softmax over the classes where it is asked for, the ``top_k`` best."""

    top_k: TopK = 5
    softmax: bool = False


def check_inside(name: str) -> str:
    """The name, of a file inside a folder: relative, with no way out, and one that Linux can hold.

    Raises ValueError.
    """
    for part in name.split("/"):
        if part in ("", ".", "..") or "\0" in part or len(part.encode()) > _MAX_NAME_BYTES:
            raise ValueError(f"{name[:100]!r} is not the name of a file inside a folder")
    return name


def check_variable(name: str) -> str:
    """The name, of an environment variable that is not ours. Raises ValueError."""
    if name.upper().startswith("HEADRACE_"):
        raise ValueError("variables that start with HEADRACE_ are not passed to a class")
    return name


InsideName = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(check_inside)]
VariableName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128),
    AfterValidator(check_variable),
]


class PackedFile(Frozen):
    """A file of the user's that travels with the job; the class finds it as ``name``.

    ``name`` is relative to the folder that the class runs in. Its bytes lie in the models bucket.
    """

    name: InsideName
    sha256: Sha256
    bytes: int = Field(ge=0, le=MAX_FILE_BYTES)


class Model(Frozen):
    """Which model: its name, its version, and how it becomes something that runs.

    Exactly one of ``architecture`` (weights in the models bucket under ``name/sha256``) and
    ``python_class`` (``module:Class``) is set. ``mean`` and ``std`` are per RGB channel, for pixels
    scaled to 0..1. ``sha256`` is that of the weights file, or ``class_sha256``.

    For a class alone: ``code_sha256`` is that of its packed code in the models bucket, ``files``
    are put beside the code, and ``environment`` names the variables that the class may see.
    """

    name: Name
    sha256: Sha256
    architecture: str | None = Field(default=None, max_length=100)
    python_class: PythonClass | None = None
    code_sha256: Sha256 | None = None
    files: tuple[PackedFile, ...] = Field(default=(), max_length=MAX_FILES)
    environment: tuple[VariableName, ...] = Field(default=(), max_length=MAX_VARIABLES)
    mean: Channels = (0.0, 0.0, 0.0)
    std: Channels = (1.0, 1.0, 1.0)

    @model_validator(mode="after")
    def _one_kind(self) -> Model:
        if (self.architecture is None) == (self.python_class is None):
            raise ValueError("exactly one of architecture and python_class is needed")
        if (self.python_class is None) != (self.code_sha256 is None):
            raise ValueError("code_sha256 belongs to a python_class")
        if self.python_class is None and (self.files or self.environment):
            raise ValueError("files and environment belong to a python_class")
        if len({file.name for file in self.files}) < len(self.files):
            raise ValueError("two files have one name")
        if min(self.std) <= 0:
            raise ValueError("std must be above zero")
        return self


def class_sha256(python_class: str, code_sha256: str, files: tuple[PackedFile, ...]) -> str:
    """The version of a user's class: it covers the code and the files that the class runs with."""
    parts = [python_class, code_sha256, sorted((file.name, file.sha256) for file in files)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


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
