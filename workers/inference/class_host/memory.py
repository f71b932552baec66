"""Memory that a worker shares with one host: a batch is joined there, and the class reads it."""

from __future__ import annotations

import fcntl
import itertools
import mmap
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workers.inference.engines.port import Images

_numbers = itertools.count()
if sys.platform == "linux":
    _FIXED_SIZE = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Area:
    """One piece of shared memory. ``descriptor`` is for the host, until it has it mapped."""

    def __init__(self, size_bytes: int) -> None:
        self.number = next(_numbers)
        self.size_bytes = size_bytes
        self.descriptor: int | None = _memory_file(size_bytes)
        try:
            self._map = mmap.mmap(self.descriptor, size_bytes)
        except BaseException:
            self.forget_descriptor()
            raise
        self._pixels = np.frombuffer(self._map, np.uint8)

    def join(self, pieces: Sequence[Images], about: bytes = b"") -> tuple[int, ...]:
        """Copy the pieces in as one batch, and ``about`` behind it. Returns the batch's shape."""
        shape = (sum(map(len, pieces)), *pieces[0].shape[1:])
        used_bytes = sum(piece.nbytes for piece in pieces)
        np.concatenate(pieces, out=self._pixels[:used_bytes].reshape(shape))
        self._map[used_bytes : used_bytes + len(about)] = about
        return shape

    def forget_descriptor(self) -> None:
        """The host has the memory, and the class must not get it a second time."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def _memory_file(size_bytes: int) -> int:
    if sys.platform != "linux":
        with tempfile.TemporaryFile() as file:
            os.truncate(file.fileno(), size_bytes)
            return os.dup(file.fileno())
    descriptor = os.memfd_create("headrace-batch", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.truncate(descriptor, size_bytes)
        # A class that made it shorter would kill the worker by SIGBUS.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _FIXED_SIZE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def resident_bytes(pid: int) -> int | None:
    """The physical memory of a process, which includes what it shares; None where nobody knows."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:  # it has ended, or the system has no such files
        return None
    return pages * mmap.PAGESIZE
