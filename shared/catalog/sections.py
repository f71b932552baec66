"""The sections of a pipeline's file that are written by hand: what a file has in its own way."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from shared.columns import FIXED_COLUMNS
from shared.fields import FileDefault, Frozen, Name, SidePixels
from shared.model import (
    MAX_ARGUMENTS_CHARACTERS,
    ModelReference,
    PythonClass,
    check_arguments,
)
from shared.pipeline import AnalysisName, Preprocess


class Section(Frozen):
    """A part of a file, in which a field that is written without a value counts as left out."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        fields = cls.model_fields
        return {k: v for k, v in values.items() if v is not None or k not in fields}


class PreprocessSection(Section, Preprocess):
    """Preprocessing in the long form."""


class SizedPreprocess(Section, Preprocess):
    """Preprocessing in the short form, whose view is a square crop."""

    resize_shorter_pixels: Annotated[
        SidePixels | None, FileDefault("8/7 of `crop_pixels`, rounded up")
    ] = Field(
        None,
        description="Pixels that the shorter side of the image is resized to, antialiased "
        "bilinear. Not below `crop_pixels`.",
    )
    crop_pixels: Annotated[SidePixels | None, FileDefault("the model's `image_pixels`, or 224")] = (
        Field(
            None,
            description="Side, in pixels, of the square that is cut from the centre. A model that "
            "has `image_pixels` takes no other size.",
        )
    )

    @model_validator(mode="after")
    def _crop_fits(self) -> SizedPreprocess:
        crop, resize = self.crop_pixels, self.resize_shorter_pixels
        if crop is not None and resize is not None and crop > resize:
            raise ValueError("crop_pixels must not exceed resize_shorter_pixels")
        return self


def arguments_text(arguments: dict[str, Any]) -> str:
    """The arguments as JSON, the same in whatever order they stand. Raises ValueError."""
    try:
        text = json.dumps(arguments, sort_keys=True, allow_nan=False)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    except ValueError as error:
        raise ValueError("numbers must be finite") from error
    except TypeError as error:  # a date is the one other thing that people write
        raise ValueError(
            "only text, numbers, true, false, lists and fields can be passed; quote a date"
        ) from error
    if len(text) > MAX_ARGUMENTS_CHARACTERS:
        raise ValueError(
            f"more than {MAX_ARGUMENTS_CHARACTERS:,} characters as JSON; put data into a file and "
            "name it under 'files:'"
        )
    return check_arguments(text)


def _check_passable(arguments: dict[str, Any]) -> dict[str, Any]:
    arguments_text(arguments)
    return arguments


Arguments = Annotated[dict[str, Any], AfterValidator(_check_passable)]


class ClassReference(Section):
    """A Python class, or a plain function, as the model of an analysis."""

    python: PythonClass = Field(
        description="The class or function. It is looked for beside the file, in "
        "`$HEADRACE_PLUGINS` and in `./plugins`."
    )
    name: Annotated[
        Name | None, FileDefault("the class's name, as in `mean_colour` for `MeanColour`")
    ] = Field(None, description="The model's name, as in the column `model` of its rows.")
    args: Arguments = Field(
        {},
        description="What the class is constructed with, by name: `{level: 3}` calls "
        "`Mood(level=3)`. A function gets it in each call. Another value makes another version of "
        "the model.",
    )


def _model_form(value: Any) -> str:
    return "<class>" if isinstance(value, dict) else "<name>"


FileModel = Annotated[
    Annotated[ModelReference, Tag("<name>")] | Annotated[ClassReference, Tag("<class>")],
    Discriminator(_model_form),
]


def _check_column(name: str) -> str:
    if name in FIXED_COLUMNS:
        raise ValueError("every row has a column of that name already: name the analysis otherwise")
    return name


ColumnName = Annotated[AnalysisName, AfterValidator(_check_column)]
