"""``os`` and ``fcntl`` for locks: real files, each descriptor with the process it is of."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import ClassVar

from tests.simulation.clock import Process
from tests.simulation.gate import Gate


class Files:
    """A process that dies loses its descriptors, and with them its locks, and writes no more."""

    LOCK_EX: ClassVar[int] = fcntl.LOCK_EX
    LOCK_NB: ClassVar[int] = fcntl.LOCK_NB
    LOCK_UN: ClassVar[int] = fcntl.LOCK_UN

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._open: dict[Process, set[int]] = {}

    def open(self, path: Path, flags: int, mode: int) -> int:
        def open_it() -> int:
            descriptor = os.open(path, flags, mode)
            self._of_this_process().add(descriptor)
            return descriptor

        return self._gate.touch("slot.open", open_it)

    def close(self, descriptor: int) -> None:
        def close() -> None:
            self._of_this_process().remove(descriptor)
            os.close(descriptor)

        self._gate.touch("slot.close", close)

    def pread(self, descriptor: int, count: int, offset: int) -> bytes:
        return self._gate.touch("slot.look", lambda: os.pread(descriptor, count, offset))

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        return self._gate.touch("slot.write", lambda: os.pwrite(descriptor, data, offset))

    def flock(self, descriptor: int, operation: int) -> None:
        if descriptor in self._of_this_process():  # else its number may be another's by now
            fcntl.flock(descriptor, operation)

    def _of_this_process(self) -> set[int]:
        process = self._gate.clock.process
        if process not in self._open:
            self._open[process] = set()
            process.on_death.append(lambda: self._close_all(process))
        return self._open[process]

    def _close_all(self, process: Process) -> None:
        for descriptor in self._open.pop(process):
            os.close(descriptor)
