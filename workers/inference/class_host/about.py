"""What a class may ask of each image beside its pixels: key, original size and placement.

The worker packs it, behind the pixels of a batch; the host unpacks it. Standard library and numpy
only: the host loads this file by its path.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Bound here, since a user's class may replace what the module has.
_dumps, _loads = json.dumps, json.loads
_Pair = tuple[int, int]


# These two have the names that users know from the documentation. The worker's own, of the same
# names, stay out of the host, which imports nothing of ours.
@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image lies in the pixels that the class gets. Sizes are (width, height) in pixels.

    ``resized``: what the upright image was resized to, without being cut.
    ``offset``: where its top left corner lies; negative where a crop cuts it off.
    ``canvas``: the size of what the class gets.
    """

    resized: _Pair
    offset: _Pair
    canvas: _Pair
    _original: _Pair = field(repr=False)

    def to_original(self, points: Any) -> Any:
        """Points in what the class gets, as pixels of the original image: a numpy array of floats.

        ``points``: shape (..., 2) or (..., 4): x, y, or x1, y1, x2, y2.
        """
        moved = np.array(points, np.float64)
        for axis in (0, 1):
            scale = self._original[axis] / self.resized[axis]
            moved[..., axis::2] = (moved[..., axis::2] - self.offset[axis]) * scale
        return moved


@dataclass(frozen=True, slots=True)
class AboutImage:
    """One image. ``width`` and ``height`` are the original's, upright, in pixels."""

    key: str
    width: int
    height: int
    placement: Placement


def pack(images: Iterable[Any]) -> bytes:
    """``workers.inference.model_types.AboutImage`` of each image."""
    facts = [
        (each.key, each.width, each.height, place.resized, place.offset, place.canvas)
        for each in images
        for place in [each.placement]
    ]
    return _dumps(facts).encode()


def unpack(packed: bytes) -> list[AboutImage]:
    """What ``pack`` was given, as the class gets it."""
    return [
        AboutImage(
            key,
            width,
            height,
            Placement(tuple(resized), tuple(offset), tuple(canvas), (width, height)),
        )
        for key, width, height, resized, offset, canvas in _loads(packed)
    ]
