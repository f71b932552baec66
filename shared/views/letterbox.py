"""The whole image in its own shape, with bars where it does not reach."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.fields import SidePixels
from shared.placement import Placement, Size
from shared.views.base import View

# The gray that the YOLO family is trained with.
YOLO_GRAY = 114


class Letterbox(View):
    """Resized until it just fits into ``width`` by ``height``, enlarged if need be."""

    kind: Literal["letterbox"] = "letterbox"
    width: SidePixels = Field(description="Width of the result, in pixels.")
    height: SidePixels = Field(description="Height of the result, in pixels.")
    pad: int = Field(
        YOLO_GRAY, ge=0, le=255, description="Value, 0 to 255, of what the image does not cover."
    )
    align: Literal["centre", "top_left"] = Field(
        "centre",
        description="Where the image lies on the canvas.",
    )

    @property
    def canvas(self) -> Size:
        """See ``View``."""
        return self.width, self.height

    def place(self, original: Size) -> Placement:
        """See ``View``. Sides are rounded down, and have one pixel at least."""
        width, height = original
        if self.width * height <= self.height * width:  # the width is what limits it
            resized = self.width, max(1, self.width * height // width)
        else:
            resized = max(1, self.height * width // height), self.height
        free = self.width - resized[0], self.height - resized[1]
        offset = (free[0] // 2, free[1] // 2) if self.align == "centre" else (0, 0)
        return Placement(resized, offset, self.canvas, self.pad)
