"""The square in the centre."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from shared.fields import SidePixels
from shared.placement import Placement, Size
from shared.views.base import View


class Crop(View):
    """Resized by its shorter side, then cut to a square in its centre: torchvision's ``Resize`` and
    ``CenterCrop``."""

    kind: Literal["crop"] = "crop"
    resize_shorter_pixels: SidePixels = Field(
        description="Pixels that the shorter side of the image is resized to. Not below "
        "`crop_pixels`."
    )
    crop_pixels: SidePixels = Field(
        description="Side, in pixels, of the square that is cut from the centre."
    )

    @model_validator(mode="after")
    def _crop_fits(self) -> Crop:
        if self.crop_pixels > self.resize_shorter_pixels:
            raise ValueError("crop_pixels must not exceed resize_shorter_pixels")
        return self

    @property
    def canvas(self) -> Size:
        """See ``View``."""
        return self.crop_pixels, self.crop_pixels

    def place(self, original: Size) -> Placement:
        """See ``View``. Halves are rounded to even, as torchvision's are."""
        width, height = resized = resized_by_shorter(original, self.resize_shorter_pixels)
        left, top = round((width - self.crop_pixels) / 2), round((height - self.crop_pixels) / 2)
        return Placement(resized, (-left, -top), self.canvas)


def resized_by_shorter(size: Size, shorter: int) -> Size:
    """The (width, height) of which the smaller is ``shorter``; the other is rounded down."""
    width, height = size
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter
