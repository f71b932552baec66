"""What every view is."""

from __future__ import annotations

from functools import lru_cache

from shared.errors import ItemError
from shared.fields import Frozen
from shared.placement import Placement, Size


class View(Frozen):
    """How a decoded image becomes what a model takes: uint8 RGB of shape (height, width, 3).

    A kind of view is a class with a ``kind: Literal[...]`` in a file of its own in this folder.
    """

    kind: str

    @property
    def canvas(self) -> Size:
        """Width and height of the result, which are the same for all images."""
        raise NotImplementedError

    def place(self, original: Size) -> Placement:
        """Where an upright image of that width and height lies on the canvas.

        Raises ItemError where the view takes no image of that size.
        """
        raise NotImplementedError(original)

    @property
    def image_bytes(self) -> int:
        """Bytes of one image in this view."""
        width, height = self.canvas
        return width * height * 3

    @lru_cache(maxsize=256)  # noqa: B019 - views are few, and photos of one size many
    def min_shorter_pixels(self, original: Size) -> int:
        """How long the shorter side has to be to be resized without enlarging.

        ``original``: width and height, perhaps before the image is set upright. 1 where the view
        takes the image neither as it is nor turned.
        """
        least = 1
        for size in (original, original[::-1]):
            try:
                placement = self.place(size)
            except ItemError:
                continue
            least = max(least, placement.min_shorter_pixels(size))
        return least
