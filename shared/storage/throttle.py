"""Asking a store for less when it says so.

As TCP does: halved when the store refuses, one more for each ten rounds that it takes. The
libraries' own pauses before they repeat a request come first; this is for a store that still
refuses.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from shared.storage.errors import SlowDown

GROWTH = 0.1


class Throttle:
    """Bounds the requests of this process at one store at once: ``max_requests``, or less."""

    def __init__(self, max_requests: int) -> None:
        self._max_requests = max_requests
        self._limit = float(max_requests)
        self._going = 0
        self._cuts = 0
        self._changed = threading.Condition()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for one request's turn; it ends with the context."""
        with self._changed:
            self._changed.wait_for(lambda: self._going < self.at_once)
            self._going += 1
            cuts = self._cuts
        try:
            yield
        except SlowDown:
            self._cut(cuts)
            raise
        else:
            with self._changed:
                self._limit = min(self._max_requests, self._limit + GROWTH / self._limit)
        finally:
            with self._changed:
                self._going -= 1
                self._changed.notify_all()

    @property
    def at_once(self) -> int:
        """How many requests may go now."""
        return int(self._limit)

    def _cut(self, seen: int) -> None:
        with self._changed:
            if seen == self._cuts:  # else it went before the last cut, and says nothing new
                self._limit = max(1.0, min(self._limit, self._going) / 2)
                self._cuts += 1
