"""What the product waits with, on simulated time: time, threading, queues, executors."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from typing import Any

from tests.simulation.clock import Clock, Task

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
EPOCH_SECONDS = EPOCH.timestamp()
UPTIME_SECONDS = 86_400.0  # of the machine: a monotonic clock never is below zero


class Time:
    """In place of the module ``time``: each process has clocks of its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.sleep = clock.sleep

    def monotonic(self) -> float:
        task = self._clock.task
        return UPTIME_SECONDS + self._clock.now + (task.process.skew_seconds if task else 0.0)

    def time(self) -> float:
        return EPOCH_SECONDS - UPTIME_SECONDS + self.monotonic()


class _Waiting:
    """Tasks that wait for something to change."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: deque[Task] = deque()

    def _wait(self, is_so: Callable[[], bool], timeout: float | None) -> bool:
        deadline = None if timeout is None else self._clock.now + timeout
        while not is_so():
            left = None if deadline is None else deadline - self._clock.now
            if left is not None and left <= 0:
                return False
            assert self._clock.task is not None
            self._tasks.append(self._clock.task)
            self._clock.park(left)
        return True

    def _changed(self) -> None:
        while self._tasks:
            self._clock.wake(self._tasks.popleft())


class Event(_Waiting):
    """``threading.Event``."""

    _is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._changed()

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        return self._wait(self.is_set, timeout)


class RLock(_Waiting):
    """``threading.RLock``; it serves as ``Lock``, which nobody takes twice."""

    _owner: Task | None = None
    _depth = 0

    def __enter__(self) -> None:
        self._wait(lambda: self._owner in (None, self._clock.task), None)
        self._owner = self._clock.task
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None
            self._changed()


class Thread:
    """``threading.Thread``, of the process that makes it."""

    def __init__(
        self,
        clock: Clock,
        target: Callable[..., object],
        name: str = "",
        args: Iterable[Any] = (),
        daemon: bool = True,
    ) -> None:
        self._clock, self._name, self._body = clock, name, partial(target, *args)
        self._ended = Event(clock)
        self._task: Task | None = None

    def start(self) -> None:
        self._task = self._clock.spawn(self._clock.process, self._name, self._run)

    def is_alive(self) -> bool:
        return self._task is not None and not self._ended.is_set()

    def join(self, timeout: float | None = None) -> None:
        self._ended.wait(timeout)

    def _run(self) -> None:
        self._body()
        self._ended.set()


class SimpleQueue(_Waiting):
    """``queue.SimpleQueue``."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._values: deque[Any] = deque()
        self.qsize = self._values.__len__

    def put(self, value: Any) -> None:
        self._values.append(value)
        self._changed()

    def get(self, timeout: float | None = None) -> Any:
        if not self._wait(lambda: bool(self._values), timeout):
            raise queue.Empty
        return self._values.popleft()


class Executor:
    """``ThreadPoolExecutor``, of one thread: the caller does the work."""

    def __init__(self, *_: object, **__: object) -> None:
        self.map = map

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)
        return future


class Threading:
    """In place of the module ``threading``."""

    def __init__(self, clock: Clock) -> None:
        self.Event = partial(Event, clock)
        self.Lock = self.RLock = partial(RLock, clock)
        self.Thread = partial(Thread, clock)
