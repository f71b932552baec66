"""What users' classes print, in the worker's log under the job's name and the class's."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable

# Of each job and worker, what stands before each line included. Logs are rotated at 20 MB, and
# other lines are to stay in them.
MAX_JOB_BYTES = 2**20
# The time, the level and the logger's name.
_BEFORE_LINE_BYTES = 60
_REMEMBERED_JOBS = 256

log = logging.getLogger("headrace.class")


class JobPrints:
    """Writes lines ``JOB CLASS | text``, for each job up to a bound. Thread-safe."""

    def __init__(self) -> None:
        self._written: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def write(self, jobs: Iterable[str], name: str, text: str) -> None:
        """What a class printed over a batch of these jobs' images."""
        lines = [line for line in text.splitlines() if line.strip()]
        if not lines:
            return
        with self._lock:
            for job in dict.fromkeys(jobs):
                self._write(job, name, lines)

    def _write(self, job: str, name: str, lines: list[str]) -> None:
        written = self._written.pop(job, 0)
        for line in lines:
            if written > MAX_JOB_BYTES:
                break
            said = f"{job} {name} | {_printable(line)}"
            log.info("%s", said)
            written += len(said.encode(errors="replace")) + _BEFORE_LINE_BYTES
            if written > MAX_JOB_BYTES:
                log.info("%s %s | what else it prints is dropped", job, name)
        self._written[job] = written
        if len(self._written) > _REMEMBERED_JOBS:
            self._written.popitem(last=False)


def _printable(line: str) -> str:
    return line if line.isprintable() else "".join(c if c.isprintable() else " " for c in line)
