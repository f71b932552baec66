"""Iterating in threads, so that who waits for the next one can look up meanwhile."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar

from shared.threads import guarded

_T = TypeVar("_T")

AHEAD = 2000
POLL_SECONDS = 0.1
# How often a thread that is far enough ahead looks whether it still is.
_AHEAD_PAUSE_SECONDS = 0.005


class Idle:
    """Yielded where nothing came for a moment."""


@dataclass(frozen=True, slots=True)
class _End:
    """A thread's last: no source is left, or one raised ``error``."""

    error: BaseException | None = None


def prefetched(
    *sources: Iterable[_T], threads: int = 1, ahead: int = AHEAD
) -> Generator[_T | Idle, None, None]:
    """Yield what the sources yield, and ``Idle`` several times a second where they wait.

    Each source is one thread's; together they are about ``ahead`` ahead. Raises what they raise.
    Closing the generator lets the threads end by themselves, as soon as a source gives the chance.
    """
    # Not a queue with a bound: its locks would take five times as long as the listing of a key.
    queue: SimpleQueue[_T | _End] = SimpleQueue()
    closed = threading.Event()
    left = deque(sources)
    running = min(threads, len(sources))
    fill = partial(_fill, left, queue, ahead, closed)
    for _ in range(running):
        # It returns after its last, which is what its sources raise; it may raise nothing itself.
        guarded("pump", fill, ended=lambda: True).start()
    try:
        while running:
            try:
                value = queue.get(timeout=POLL_SECONDS)
            except Empty:
                yield Idle()
                continue
            if not isinstance(value, _End):
                yield value
            elif value.error is not None:
                raise value.error
            else:
                running -= 1
    finally:
        closed.set()


def _fill(
    sources: deque[Iterable[_T]],
    queue: SimpleQueue[_T | _End],
    ahead: int,
    closed: threading.Event,
) -> None:
    end = _End()
    try:
        while (source := _taken(sources)) is not None:
            for value in source:
                while queue.qsize() >= ahead and not closed.wait(_AHEAD_PAUSE_SECONDS):
                    pass
                if closed.is_set():
                    return
                queue.put(value)
    except BaseException as error:  # noqa: BLE001 - raised in the reader's thread
        end = _End(error)
    queue.put(end)


def _taken(sources: deque[Iterable[_T]]) -> Iterable[_T] | None:
    try:
        return sources.popleft()
    except IndexError:  # another thread took the last
        return None
