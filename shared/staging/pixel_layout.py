"""Where each view of each image lies in a slot or parcel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shared.views import View

Pixels = npt.NDArray[np.uint8]


class PixelLayout:
    """``images`` images in several views: those of the first view densely, then the second's.

    So an engine gets the images of one view as one array, without a copy.
    """

    def __init__(self, views: Sequence[View], images: int) -> None:
        self._views, self._images = views, images

    @property
    def total_bytes(self) -> int:
        """Of all images in all views."""
        return self._images * image_bytes(self._views)

    def array(self, pixels: Pixels, view: int) -> Pixels:
        """The images of view number ``view``: uint8 (images, height, width, 3).

        ``pixels``: those of the slot, uint8 of one dimension.
        """
        start = self._images * image_bytes(self._views[:view])
        width, height = self._views[view].canvas
        end = start + self._images * self._views[view].image_bytes
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


def image_bytes(views: Sequence[View]) -> int:
    """Bytes of one image in all these views."""
    return sum(view.image_bytes for view in views)
