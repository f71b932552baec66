"""One image's bytes become one row of a slot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from shared.item import ImageWarning
from shared.pipeline import Preprocess
from workers.deadline import deadlines
from workers.preprocess.damage import raising_item_errors
from workers.preprocess.decode import decode
from workers.preprocess.resize import Pixels, resize_into


@dataclass(frozen=True, slots=True)
class Filled:
    """What is known of an image whose row is filled: ``width`` and ``height`` of the whole."""

    width: int
    height: int
    warning: ImageWarning | None = None


class Decoder(Protocol):
    """Fills rows, in this process (``decode_here``) or in a child (``decode_in_child``)."""

    def __call__(self, place: int, row: Pixels, data: bytes) -> Filled:
        """Fill ``row``, uint8 (crop, crop, 3), with the bytes of an object. Raises ItemError.

        ``place``: the item's place in its chunk.
        """
        ...


def fill(row: Pixels, data: bytes, preprocess: Preprocess) -> Filled:
    """Decode ``data`` and resize it into ``row``. Raises ItemError."""
    decoded = decode(data, preprocess)
    size = decoded.width, decoded.height
    with raising_item_errors(data):
        resize_into(row, decoded.pixels, size, preprocess.resize_shorter_pixels)
    return Filled(*size, decoded.warning)


@contextmanager
def decode_here(preprocess: Preprocess) -> Iterator[Decoder]:
    """A decoder in this process, which ends where one image takes longer than ``item_seconds``."""
    with deadlines.watched() as renew:

        def decode_in_time(place: int, row: Pixels, data: bytes) -> Filled:  # noqa: ARG001
            renew(preprocess.item_seconds)
            return fill(row, data, preprocess)

        yield decode_in_time
