"""Iterating in threads, so that who waits for the next one can look up meanwhile."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import TypeVar

_T = TypeVar("_T")

AHEAD = 2000
GLANCE_SECONDS = 0.1


class Nothing:
    """Yielded where nothing came for a moment."""


@dataclass(frozen=True, slots=True)
class _End:
    """A thread's last: no source is left, or one raised ``error``."""

    error: BaseException | None = None


def pumped(
    *sources: Iterable[_T], threads: int = 1, ahead: int = AHEAD
) -> Generator[_T | Nothing, None, None]:
    """Yield what the sources yield, and ``Nothing`` several times a second where they wait.

    Each source is one thread's; together they are at most ``ahead`` ahead. Raises what they raise.
    Closing the generator lets the threads end by themselves, as soon as a source gives the chance.
    """
    queue: Queue[_T | _End] = Queue(ahead)
    closed = threading.Event()
    left = deque(sources)
    running = min(threads, len(sources))
    for _ in range(running):
        work = (left, queue, closed)
        threading.Thread(target=_fill, args=work, name="pump", daemon=True).start()
    try:
        while running:
            try:
                value = queue.get(timeout=GLANCE_SECONDS)
            except Empty:
                yield Nothing()
                continue
            if not isinstance(value, _End):
                yield value
            elif value.error is not None:
                raise value.error
            else:
                running -= 1
    finally:
        closed.set()


def _fill(sources: deque[Iterable[_T]], queue: Queue[_T | _End], closed: threading.Event) -> None:
    end = _End()
    try:
        while (source := _taken(sources)) is not None:
            for value in source:
                if not _put(queue, value, closed):
                    return
    except BaseException as error:  # noqa: BLE001 - raised in the reader's thread
        end = _End(error)
    _put(queue, end, closed)


def _taken(sources: deque[Iterable[_T]]) -> Iterable[_T] | None:
    try:
        return sources.popleft()
    except IndexError:  # another thread took the last
        return None


def _put(queue: Queue[_T | _End], value: _T | _End, closed: threading.Event) -> bool:
    while not closed.is_set():
        try:
            queue.put(value, timeout=GLANCE_SECONDS)
        except Full:
            continue
        return True
    return False
