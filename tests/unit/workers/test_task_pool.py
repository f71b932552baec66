"""The pool of threads: what breaks at an acknowledgement, and what waits at a stop."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator

import pytest

from tests.support.waiting import wait_for
from workers.task_pool import TaskPool


@pytest.fixture
def pool() -> Iterator[TaskPool]:
    pool = TaskPool(limit=1)
    pool.on_start()
    yield pool
    pool.on_stop()


def broken(*_: object) -> None:
    raise BrokenPipeError("the broker has gone")


def test_a_connection_that_breaks_at_an_acknowledgement_costs_no_thread(
    pool: TaskPool, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[int] = []
    pool.on_apply(done.append, (1,), callback=broken, accept_callback=broken)
    pool.on_apply(done.append, (2,), callback=done.append)
    wait_for(lambda: done == [1, 2, None], what="both tasks")
    assert caplog.text.count("the broker has gone") == 2


def test_a_call_that_waits_at_a_stop_is_not_begun(pool: TaskPool) -> None:
    done: list[int] = []
    began, go_on = threading.Event(), threading.Event()

    def first() -> None:
        began.set()
        go_on.wait()
        done.append(1)

    pool.on_apply(first, callback=lambda _: None)
    pool.on_apply(done.append, (2,), callback=lambda _: None)
    began.wait()
    stop = threading.Thread(target=pool.on_stop)
    stop.start()
    try:
        wait_for(lambda: pool._calls.qsize() == 1, what="the end of the queue")  # its None alone
    finally:
        go_on.set()
        stop.join()
    assert done == [1]


class Message:
    """What a task is about."""

    def read(self) -> None:
        pass


def test_a_thread_that_waits_keeps_nothing_of_its_last_task(pool: TaskPool) -> None:
    message, done = Message(), threading.Event()
    seen = weakref.ref(message)
    pool.on_apply(Message.read, (message,), callback=lambda _: done.set())
    del message
    assert done.wait(10)
    wait_for(lambda: seen() is None, what="the message to be dropped")
