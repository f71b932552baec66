"""One image's bytes become one row of a slot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shared.messages import ImageWarning
from shared.pipeline import Preprocess
from workers.deadline import deadlines
from workers.preprocess.damage import explained
from workers.preprocess.decode import decode
from workers.preprocess.resize import Pixels, resize_into


@dataclass(frozen=True, slots=True)
class Filled:
    """What is known of an image whose row is filled: ``width`` and ``height`` of the whole."""

    width: int
    height: int
    warning: ImageWarning | None = None


# Fills a row, uint8 (crop, crop, 3), with an object's bytes. Raises ItemError.
Fill = Callable[[Pixels, bytes], Filled]


def fill(row: Pixels, data: bytes, preprocess: Preprocess) -> Filled:
    """Decode ``data`` and resize it into ``row``, as a ``Fill`` does."""
    decoded = decode(data, preprocess)
    size = decoded.width, decoded.height
    with explained(data):
        resize_into(row, decoded.pixels, size, preprocess.resize_shorter_pixels)
    return Filled(*size, decoded.warning)


@contextmanager
def filling_here(preprocess: Preprocess) -> Iterator[Fill]:
    """Fill in this process, which ends where one image takes longer than ``item_seconds``."""
    with deadlines.watched() as renew:

        def fill_in_time(row: Pixels, data: bytes) -> Filled:
            renew(preprocess.item_seconds)
            return fill(row, data, preprocess)

        yield fill_in_time
