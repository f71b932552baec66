"""What users' classes print, in the worker's log under the job's name and the class's."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable

# Of each job and worker. Logs are rotated at 20 MB, and other lines are to stay in them.
MAX_JOB_BYTES = 2**20
_REMEMBERED_JOBS = 256

log = logging.getLogger("headrace.class")


class JobPrints:
    """Writes lines ``JOB CLASS | text``, for each job up to a bound. One thread at a time."""

    def __init__(self) -> None:
        self._written: OrderedDict[str, int] = OrderedDict()

    def write(self, jobs: Iterable[str], name: str, text: str) -> None:
        """What a class printed over a batch of these jobs' images."""
        if not text:
            return
        for job in dict.fromkeys(jobs):
            written = self._written.pop(job, 0)
            self._written[job] = written + len(text)
            if len(self._written) > _REMEMBERED_JOBS:
                self._written.popitem(last=False)
            if written > MAX_JOB_BYTES:
                continue
            for line in text.splitlines():
                log.info("%s %s | %s", job, name, _printable(line))
            if written + len(text) > MAX_JOB_BYTES:
                log.info("%s %s | what else it prints is dropped", job, name)


def _printable(line: str) -> str:
    return line if line.isprintable() else "".join(c if c.isprintable() else " " for c in line)
