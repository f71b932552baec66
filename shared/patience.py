"""Waiting out services that do not answer, and saying so once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from shared.errors import TransientError

_T = TypeVar("_T")

log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.05
_MAX_PAUSE_SECONDS = 2.0
_STOPPING_GRACE_SECONDS = 5.0


class Outage:
    """Says to ``log`` what is waited for: each reason once, until it is over.

    A service that is tried every second for a night would fill the logs with one line.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said: set[str] = set()

    def report(self, reason: object) -> None:
        """It failed, again perhaps."""
        if (text := str(reason)) not in self._said:
            self._said.add(text)
            self._log.warning("waiting: %s", text)

    def clear(self) -> None:
        """It worked. Says so, where it had not."""
        if self._said:
            self._said.clear()
            self._log.info("going on")


def retry_while_unavailable(
    action: Callable[[], _T],
    *,
    stopping: threading.Event,
    deadline_seconds: float | None = None,
) -> _T:
    """Call ``action`` until it raises no TransientError, with growing pauses.

    The last error is raised after ``deadline_seconds``, or five seconds after ``stopping``.
    """
    started = time.monotonic()
    pause = _FIRST_PAUSE_SECONDS
    stop_seen: float | None = None
    while True:
        try:
            return action()
        except TransientError as error:
            now = time.monotonic()
            if stopping.is_set():
                stop_seen = stop_seen or now
            overdue = deadline_seconds is not None and now - started > deadline_seconds
            if overdue or (stop_seen is not None and now - stop_seen > _STOPPING_GRACE_SECONDS):
                raise
            if pause >= 1.0 > pause / 2:
                log.warning("waiting: %s", error)
        time.sleep(pause)
        pause = min(pause * 2, _MAX_PAUSE_SECONDS)
