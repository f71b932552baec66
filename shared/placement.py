"""Where an image lies on the canvas that a model takes: the one arithmetic of pixels.

The decoder's target size, the row of a slot, the checks of messages and the way back to original
pixels all follow from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Width and height, in pixels.
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Placement:
    """A resized image on a canvas. All sizes are (width, height) in pixels.

    ``resized``: what the upright image is resized to, without being cut.
    ``offset``: where its top left corner lies on the canvas; negative where a crop cuts it off.
    ``canvas``: what the model takes.
    ``pad``: the value, 0 to 255, of what the image does not cover.
    """

    resized: Size
    offset: tuple[int, int]
    canvas: Size
    pad: int = 0

    @property
    def shown(self) -> tuple[int, int, int, int]:
        """The part of the resized image that lies on the canvas: left, top, right, bottom."""
        (x, y), (width, height) = self.offset, self.resized
        return (
            max(0, -x),
            max(0, -y),
            min(width, self.canvas[0] - x),
            min(height, self.canvas[1] - y),
        )

    def min_shorter_pixels(self, original: Size) -> int:
        """How long the shorter side of ``original`` has to be to be resized without enlarging."""
        shorter = min(original)
        (width, height), (new_width, new_height) = original, self.resized
        return max(-(-new_width * shorter // width), -(-new_height * shorter // height))

    def to_original(self, points: Any, original: Size) -> Any:
        """Points on the canvas, as pixels of ``original``: float64, of the same shape.

        ``points``: a numpy array of shape (..., 2) or (..., 4): x, y, or x1, y1, x2, y2.
        """
        moved = points.astype("float64")
        for axis in (0, 1):
            scale = original[axis] / self.resized[axis]
            moved[..., axis::2] = (moved[..., axis::2] - self.offset[axis]) * scale
        return moved
