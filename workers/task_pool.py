"""Celery's pool of threads, in which nothing dies unseen.

Celery's own keeps the place of a task taken for ever when an error leaves it or its bookkeeping
(an acknowledgement, an event), and has fewer threads from then on when one dies: the worker would
live, renew its lease and take no message. Here both end the process.

Not so a connection that breaks at an acknowledgement: Celery connects again by itself, and what was
not acknowledged is sent again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from celery.concurrency.base import BasePool, apply_target

from shared.threads import guarded

log = logging.getLogger(__name__)


class TaskPool(BasePool):  # type: ignore[misc]
    """As many threads as the worker has places."""

    limit: int
    body_can_be_buffer = True
    signal_safe = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    def on_start(self) -> None:
        for number in range(self.limit):
            thread = guarded(f"task-{number + 1}", self._serve, ended=self._closing.is_set)
            self._threads.append(thread)
            thread.start()

    def on_apply(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        **_: Any,
    ) -> None:
        told = [each and partial(_report, each) for each in (callback, accept_callback)]
        self._calls.put(partial(apply_target, target, args, kwargs, *told))

    def on_stop(self) -> None:
        """Wait for the tasks that run. One more may wait after a reconnect: it is not begun.

        Its message is not acknowledged, and so is sent again.
        """
        self._closing.set()
        with suppress(Empty):
            while True:
                self._calls.get_nowait()
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # while this thread waits, it would keep the task's message


def _report(callback: Callable[..., object], *args: Any) -> None:
    """Tell Celery how far a task is, which acknowledges its message."""
    try:
        callback(*args)
    except OSError as error:
        log.warning("a message was not acknowledged: %s", error)
