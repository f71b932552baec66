"""Simulated time: greenlets that wait for a moment, and processes that die and freeze."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from greenlet import GreenletExit, getcurrent, greenlet


@dataclass(eq=False)
class Process:
    """What dies and freezes as one. ``skew_seconds``: how far its clocks are off."""

    name: str
    skew_seconds: float = 0.0
    is_alive: bool = True
    frozen_until: float = 0.0
    tasks: list[Task] = field(default_factory=list)
    on_death: list[Callable[[], None]] = field(default_factory=list)


@dataclass(eq=False)
class Task:
    """One thread of a process. ``ticket`` tells the moment it waits for from earlier ones."""

    process: Process
    name: str
    greenlet: greenlet
    ticket: int = 0
    was_woken: bool = False


class Clock:
    """Runs tasks one at a time, each at the moment that it waits for. ``now`` is in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.is_over = False
        self.task: Task | None = None
        self._hub = getcurrent()
        self._heap: list[tuple[float, int, Task, int]] = []
        self._order = itertools.count()
        self._dying: list[Task] = []

    @property
    def process(self) -> Process:
        """The process that runs now."""
        assert self.task is not None
        return self.task.process

    def spawn(self, process: Process, name: str, body: Callable[[], object]) -> Task:
        """Begin a thread of ``process``, at once."""
        task = Task(process, name, greenlet(body, self._hub))
        process.tasks.append(task)
        self._due(task, self.now)
        return task

    def sleep(self, seconds: float) -> None:
        """Wait, in the task that runs now. Raises GreenletExit where its process dies meanwhile."""
        if seconds > 0:
            self.park(seconds)

    def park(self, seconds: float | None) -> bool:
        """Wait until woken, or for so long. Returns whether it was woken."""
        task = self.task
        assert task is not None
        if not task.process.is_alive:  # only what it does on its way out gets here
            raise GreenletExit
        task.ticket += 1
        task.was_woken = False
        if seconds is not None:
            self._due(task, self.now + max(0.0, seconds))
        self._hub.switch()
        return task.was_woken

    def wake(self, task: Task) -> None:
        """End a task's ``park``."""
        if not task.was_woken:
            task.was_woken = True
            task.ticket += 1
            self._due(task, self.now)

    def kill(self, process: Process) -> None:
        """SIGKILL: nothing that it would do on its way out has an effect."""
        if not process.is_alive:
            return
        process.is_alive = False
        for clean_up in process.on_death:
            clean_up()
        self._dying += process.tasks
        if self.task is not None and self.task.process is process:
            raise GreenletExit

    def run(self) -> None:
        """Until ``is_over``, or nobody waits for anything."""
        while self._heap and not self.is_over:
            due, _, task, ticket = heapq.heappop(self._heap)
            if ticket != task.ticket or task.greenlet.dead:
                continue
            self.now = max(self.now, due)
            if task.process.frozen_until > self.now:
                self._due(task, task.process.frozen_until)
                continue
            self._switch(task)
            self._bury()

    def end(self) -> None:
        """Let go of every task that is left."""
        for _, _, task, _ in self._heap:
            task.process.is_alive = False
            self._dying += task.process.tasks
        self._bury()

    def _switch(self, task: Task) -> None:
        self.task = task
        try:
            task.greenlet.switch()
        finally:
            self.task = None

    def _bury(self) -> None:
        while self._dying:
            task = self._dying.pop()
            self.task = task
            if not task.greenlet.dead:
                task.greenlet.throw(GreenletExit)
        self.task = None

    def _due(self, task: Task, moment: float) -> None:
        heapq.heappush(self._heap, (moment, next(self._order), task, task.ticket))
