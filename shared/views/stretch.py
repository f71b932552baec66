"""The whole image, its sides changed as needed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.fields import SidePixels
from shared.placement import Placement, Size
from shared.views.base import View


class Stretch(View):
    """Resized to exactly ``width`` by ``height``, whatever shape the image has."""

    kind: Literal["stretch"] = "stretch"
    width: SidePixels = Field(description="Width of the result, in pixels.")
    height: SidePixels = Field(description="Height of the result, in pixels.")

    @property
    def canvas(self) -> Size:
        """See ``View``."""
        return self.width, self.height

    def place(self, original: Size) -> Placement:  # noqa: ARG002 - the same for all
        """See ``View``."""
        return Placement(self.canvas, (0, 0), self.canvas)
