"""Memory that a worker shares with one host: a batch is joined there, and the class reads it."""

from __future__ import annotations

import fcntl
import itertools
import mmap
import os
import sys
import tempfile
from collections.abc import Sequence

import numpy as np

from workers.inference.engines.port import Images

_numbers = itertools.count()


class Area:
    """One piece of shared memory. ``descriptor`` is for the host, until it has it mapped."""

    def __init__(self, size_bytes: int) -> None:
        self.number = next(_numbers)
        self.size_bytes = size_bytes
        self.descriptor: int | None = _memory_file(size_bytes)
        self._map = mmap.mmap(self.descriptor, size_bytes)
        self._pixels = np.frombuffer(self._map, np.uint8)

    def join(self, pieces: Sequence[Images]) -> tuple[int, ...]:
        """Copy the pieces in as one batch. Returns its shape."""
        shape = (sum(map(len, pieces)), *pieces[0].shape[1:])
        used_bytes = sum(piece.nbytes for piece in pieces)
        np.concatenate(pieces, out=self._pixels[:used_bytes].reshape(shape))
        return shape

    def forget_descriptor(self) -> None:
        """The host has the memory; nobody else is to get it."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def _memory_file(size_bytes: int) -> int:
    if sys.platform != "linux":
        with tempfile.TemporaryFile() as file:
            os.truncate(file.fileno(), size_bytes)
            return os.dup(file.fileno())
    descriptor = os.memfd_create("headrace-batch", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.truncate(descriptor, size_bytes)
    # A class that made it shorter would kill the worker by SIGBUS.
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return descriptor
