"""Darknet's ``.weights``: a header, and then the numbers of all layers in their order."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.model import MAX_WEIGHTS_BYTES

_VERSION_BYTES = 12  # major, minor, revision
_MAX_VERSION = 1000
_LONG_COUNT_SINCE = (0, 2)


class BadWeights(ValueError):
    """What is wrong with a ``.weights``, in a few words."""


class Weights:
    """The numbers of a file, taken one layer after another. Raises BadWeights."""

    def __init__(self, path: Path) -> None:
        size = path.stat().st_size
        if size > MAX_WEIGHTS_BYTES:
            raise BadWeights(f"it has {size:,} bytes, and {MAX_WEIGHTS_BYTES:,} are the most")
        with path.open("rb") as file:
            head = file.read(_VERSION_BYTES)
            version = struct.unpack("<3i", head) if len(head) == _VERSION_BYTES else (-1,)
            if not all(0 <= number < _MAX_VERSION for number in version):
                raise BadWeights("it does not begin as Darknet's weights do")
            # How many images it was trained with is a number of 8 bytes since version 0.2.
            seen_bytes = 8 if version[:2] >= _LONG_COUNT_SINCE else 4
            count, rest = divmod(size - _VERSION_BYTES - seen_bytes, 4)
            if count < 1 or rest:
                raise BadWeights("it ends in the middle of a number")
            file.seek(_VERSION_BYTES + seen_bytes)
            self._numbers = np.fromfile(file, "<f4")
        if not np.isfinite(self._numbers).all():
            raise BadWeights("it has numbers that are not finite")
        self._taken = 0

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._numbers)

    def take(self, *shape: int) -> npt.NDArray[np.float32]:
        """The next ones."""
        start, self._taken = self._taken, self._taken + math.prod(shape)
        return self._numbers[start : self._taken].reshape(shape)
