"""A hang is a death: whoever works on an image says by when, and overdue the process ends.

The timer is ``faulthandler``'s, a thread in C that needs no GIL: it also ends a process in which
native code keeps the GIL for ever. There is one a process, set for the earliest deadline.
"""

from __future__ import annotations

import faulthandler
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

# Setting the timer costs a thread, and taking it away waits for that to end: milliseconds where all
# cores are busy. Set for a little later than needed, it serves many deadlines.
SLACK = 0.1
# What may take as long as it does.
NO_DEADLINE = math.inf
_STDERR = 2

Renew = Callable[[float], None]


def _arm(seconds: float) -> None:
    faulthandler.dump_traceback_later(seconds, exit=True, file=_STDERR)


class Deadlines:
    """The deadlines of one process. Thread-safe."""

    def __init__(
        self,
        arm: Callable[[float], None] = _arm,
        disarm: Callable[[], None] = faulthandler.cancel_dump_traceback_later,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._arm = arm
        self._disarm = disarm
        self._clock = clock
        self._lock = threading.Lock()
        self._due: dict[object, float] = {}
        self._armed: float | None = None

    @contextmanager
    def watched(self) -> Iterator[Renew]:
        """The body calls what it is given with the seconds that its next step may take.

        A step that takes a tenth longer ends the process, with every thread's stack on stderr.
        Before the first call, and after the body, there is no deadline; ``NO_DEADLINE`` is none.
        """
        token = object()
        try:
            yield partial(self._renew, token)
        finally:
            self._renew(token, NO_DEADLINE)

    def _renew(self, token: object, seconds: float) -> None:
        with self._lock:
            now = self._clock()
            if seconds != NO_DEADLINE:
                self._due[token] = now + seconds
            elif self._due.pop(token, None) is None:
                return
            if self._due:
                self._set(now)
            elif self._armed is not None:
                self._armed = None
                self._disarm()

    def _set(self, now: float) -> None:
        """Have the timer fire for the earliest deadline, and not before it."""
        earliest = min(self._due.values())
        latest = earliest + SLACK * max(0.0, earliest - now)
        if self._armed is None or not earliest <= self._armed <= latest:
            self._armed = latest
            self._arm(max(0.001, latest - now))


deadlines = Deadlines()
