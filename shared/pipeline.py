"""A pipeline by value: what every job and every message carries, with nothing left to look up.

A field that users set is defined here and nowhere else: its type, bounds, default and meaning. Its
form in a file (``shared.catalog.files``), ``pipelines show``, the JSON Schemas and
``docs/PIPELINES.md`` follow from that.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

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
MAX_SIDE_PIXELS = 4096
SidePixels = Annotated[int, Field(ge=1, le=MAX_SIDE_PIXELS)]
DeadlineSeconds = Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)]
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


@dataclass(frozen=True, slots=True)
class FileDefault:
    """Beside a field's type: its default in a file, in words, where it is worked out.

    The default of the field itself is that of the value.
    """

    words: str


class Preprocess(Frozen):
    """How an object becomes pixels: decoded, resized, and cut to a square in its centre.

    The result is uint8 RGB of shape (crop_pixels, crop_pixels, 3).
    """

    resize_shorter_pixels: Annotated[
        SidePixels, FileDefault("8/7 of `crop_pixels`, rounded up")
    ] = Field(
        256,
        description="Pixels that the shorter side of the image is resized to, antialiased "
        "bilinear. Not below `crop_pixels`.",
    )
    crop_pixels: Annotated[SidePixels, FileDefault("the model's `image_pixels`, or 224")] = Field(
        224,
        description="Side, in pixels, of the square that is cut from the centre. A model that has "
        "`image_pixels` takes no other size.",
    )
    max_object_bytes: int = Field(
        64 * 2**20,
        ge=1,
        le=2**30,
        description="The largest object that is read, in bytes, packed or unpacked. A larger one "
        "fails as `too_large`.",
    )
    max_pixels: int = Field(
        100_000_000,
        ge=1,
        le=10**9,
        description="The largest image that is decoded, in pixels (width × height). A larger one "
        "fails as `bomb`.",
    )
    item_seconds: DeadlineSeconds = Field(
        60.0,
        description="How many seconds one image may take. A process that takes longer is stopped, "
        "and the image is tried again alone; after two such tries it fails as `killed_worker`.",
    )
    decode: Literal["lenient", "strict"] = Field(
        "lenient",
        description="What happens to an image that is damaged in parts: `lenient` keeps it with a "
        "warning, `strict` fails it as `corrupt`.",
    )
    sixteen_bit: Literal["scale", "high_byte"] = Field(
        "scale",
        description="How samples of 16 bits become 8: `scale` goes by the bits that the image "
        "fills, `high_byte` always takes the upper byte.",
    )

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
    """How a model's scores become predictions."""

    top_k: int = Field(
        5, ge=1, le=100, description="How many predictions a row keeps, the best first."
    )
    softmax: Annotated[bool, FileDefault("true for weights, false for a class")] = Field(
        False, description="Whether an array of scores goes through softmax."
    )


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


class PipelineFields(Frozen):
    """The fields that a pipeline has in every form, in their order. Each form has its own model."""

    name: Annotated[Name | None, FileDefault("the file's name without `.yaml`")] = Field(
        None, description="The pipeline's name, as in the column `pipeline` of its rows."
    )
    preprocess: Preprocess = Preprocess()
    model: Any
    engine: EnginePolicy = Field(
        "auto",
        description="What runs the weights. `auto` takes the fastest here whose answers agree "
        "with float32 in torch. A class always runs in Python.",
    )
    precision: PrecisionPolicy = Field(
        "auto",
        description="The floating-point type that the weights are computed in. `auto` takes the "
        "fastest whose answers agree with float32.",
    )
    batch_seconds: DeadlineSeconds = Field(
        DEFAULT_BATCH_SECONDS,
        description="How many seconds one device batch may take. A process that takes longer is "
        "stopped, and its images are tried again.",
    )
    postprocess: Postprocess = Postprocess()


class Pipeline(PipelineFields):
    """A resolved pipeline. ``sha256`` identifies its content."""

    name: Name
    model: Model

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON form."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
