"""Where each view of each image lies in a slot or parcel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from shared.pixels import Pixels
from shared.views import View


class PixelLayout:
    """``images`` images in several views: those of the first view densely, then the second's.

    So an engine gets the images of one view as one array, without a copy.
    """

    def __init__(self, views: Sequence[View], images: int) -> None:
        self._views, self._images = views, images
        # Where each view begins, and the last ends, in a layout of one image.
        self._starts = [0, *accumulate(view.image_bytes for view in views)]

    @property
    def total_bytes(self) -> int:
        """Of all images in all views."""
        return self._images * self._starts[-1]

    def array(self, pixels: Pixels, view: int) -> Pixels:
        """The images of view number ``view``: uint8 (images, height, width, 3).

        ``pixels``: those of the slot, uint8 of one dimension.
        """
        start, end = (self._images * bound for bound in self._starts[view : view + 2])
        width, height = self._views[view].canvas
        return pixels[start:end].reshape(self._images, height, width, 3)

    def rows(self, pixels: Pixels, image: int) -> tuple[Pixels, ...]:
        """Where image number ``image`` lies in each view: uint8 (height, width, 3)."""
        return tuple(self.array(pixels, view)[image] for view in range(len(self._views)))

    def close_up(self, pixels: Pixels, images: int) -> None:
        """Move the images where a layout of only the first ``images`` of them has them."""
        if images == self._images:
            return
        closer = PixelLayout(self._views, images)
        for view in range(1, len(self._views)):
            closer.array(pixels, view)[:] = self.array(pixels, view)[:images]
