"""Looking at something again and again while something else runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PERIOD_SECONDS = 0.25


@contextmanager
def sampled(look: Callable[[], object]) -> Iterator[None]:
    """Call ``look`` before the body, after it, and every quarter of a second meanwhile."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(PERIOD_SECONDS):
            look()

    look()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        look()
