"""Evidence: which item is it that kills the process it runs in?"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.errors import TransientError
from workers.suspects.child import Child, ChildDied
from workers.suspects.packet import Packet

# A chunk that lost its holder so often at one stage is run in a child there.
SUSPECT_LOSSES = 2
# An item on which so many such runs were lost, with the whole worker, is tried no more.
MAX_LOST_RUNS = 5

# Notes where all can see it that an item is on trial, by its place in the chunk, or that none is.
# Returns how many runs were lost on that item.
Note = Callable[[int | None], int]

log = logging.getLogger(__name__)
_T = TypeVar("_T")


class ChildUnstartable(Exception):
    """The child died twice before it had anything to run."""


@dataclass(frozen=True, slots=True)
class KillVerdict:
    """The item killed its process twice, the second time as the first thing there.

    Or it took the whole worker along, five times. ``reason`` is a line for its owner.
    """

    reason: str


class SuspectTrial(Generic[_T]):
    """Items run one after the other in ``python -m MODULE``, begun with ``begin``.

    ``read`` makes the answer of a packet, and raises ValueError on nonsense. ``start_seconds`` and
    ``item_seconds`` are how long the child may take to say that it is ready, and over one item.
    """

    def __init__(
        self,
        module: str,
        begin: Packet,
        read: Callable[[Packet], _T],
        *,
        start_seconds: float,
        item_seconds: float,
        note: Note,
        stopping: threading.Event,
    ) -> None:
        self._module = module
        self._begin = begin
        self._read = read
        self._start_seconds = start_seconds
        self._item_seconds = item_seconds
        self._note = note
        self._stopping = stopping
        self._child: Child | None = None
        self._ready: Packet | None = None

    def __enter__(self) -> SuspectTrial[_T]:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ready(self) -> Packet:
        """What the child says of itself. Raises ChildUnstartable, or TransientError (stopping)."""
        if self._child is None or self._ready is None:
            self._ready = self._start()
        return self._ready

    def run(self, item: int, payload: bytes) -> _T | KillVerdict:
        """The child's answer, or the evidence that there can be none. ``item``: its place.

        Raises ChildUnstartable, TransientError where the worker stops, and what noting raises.
        """
        lost_runs = self._note(item)
        if lost_runs >= MAX_LOST_RUNS:
            return KillVerdict(f"The worker died {lost_runs} times while this ran, alone.")
        answer = self._run_twice(payload)
        self._note(None)
        return answer

    def _run_twice(self, payload: bytes) -> _T | KillVerdict:
        try:
            return self._ask(payload)
        except ChildDied as death:
            log.warning("a suspect's process died (%s); the item runs again, alone", death)
        try:
            return self._ask(payload)
        except ChildDied as death:
            log.warning("a suspect's process died again (%s)", death)
            return KillVerdict(f"It killed its process twice, the second time alone ({death}).")

    def _ask(self, payload: bytes) -> _T:
        self.ready()
        assert self._child is not None
        try:
            answer = self._child.ask(Packet({}, payload), self._item_seconds)
            return self._read(answer)
        except ValueError as error:
            self._end()
            raise ChildDied(f"it answered nonsense: {error}") from error
        except BaseException:
            self._end()
            raise

    def _start(self) -> Packet:
        if self._stopping.is_set():
            raise TransientError("stopping", "The worker is stopping.")
        reasons = []
        for _ in range(2):
            self._child = Child(self._module, self._stopping)
            try:
                return self._child.ask(self._begin, self._start_seconds)
            except ChildDied as death:
                self._end()
                reasons.append(str(death))
            except BaseException:
                self._end()
                raise
        raise ChildUnstartable(f"The process died before it began: {', then '.join(reasons)}.")

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
        self._child = self._ready = None
