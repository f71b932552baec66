"""Iterating in a thread, so that who waits for the next one can look up meanwhile."""

from __future__ import annotations

import threading
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
    """Comes last: the source is exhausted, or it raised ``error``."""

    error: BaseException | None = None


def pumped(source: Iterable[_T]) -> Generator[_T | Nothing, None, None]:
    """Yield what ``source`` yields, and ``Nothing`` several times a second where it waits.

    The source is at most ``AHEAD`` ahead. Raises what it raises. Closing the generator lets the
    thread end by itself, as soon as the source gives it a chance.
    """
    queue: Queue[_T | _End] = Queue(AHEAD)
    closed = threading.Event()
    work = (source, queue, closed)
    threading.Thread(target=_fill, args=work, name="pump", daemon=True).start()
    try:
        while True:
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
                return
    finally:
        closed.set()


def _fill(source: Iterable[_T], queue: Queue[_T | _End], closed: threading.Event) -> None:
    end = _End()
    try:
        for value in source:
            if not _put(queue, value, closed):
                return
    except BaseException as error:  # noqa: BLE001 - raised in the reader's thread
        end = _End(error)
    _put(queue, end, closed)


def _put(queue: Queue[_T | _End], value: _T | _End, closed: threading.Event) -> bool:
    while not closed.is_set():
        try:
            queue.put(value, timeout=GLANCE_SECONDS)
        except Full:
            continue
        return True
    return False
