"""No exception leaves a task: Celery would answer some of them by consuming nothing more."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from shared.messages import Chunk
from shared.stages import PREPROCESS
from tests.support.samples import chunk
from workers.celery_worker import make_task
from workers.quarantine import consumer

Process = Callable[..., None]


def task_that(process: Process) -> Any:
    """The Celery task of a worker whose runtime does this with a message."""
    app = Celery(set_as_current=False)
    contract: Any = SimpleNamespace(task="headrace.test", message_type=Chunk)
    runtime: Any = SimpleNamespace(process=process)
    make_task(app, contract, PREPROCESS, runtime, lambda *_: None)  # type: ignore[arg-type,return-value]
    return app.tasks["headrace.test"]


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(1), RuntimeError("no")], ids=repr)
def test_nothing_that_is_raised_leaves_the_task(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def raises(*_: Any) -> None:
        raise error

    consumer._keep("id", chunk())
    assert task_that(raises).apply(task_id="id").result is None
    assert type(error).__name__ in caplog.text


def test_what_was_inspected_is_taken_once() -> None:
    seen: list[Any] = []
    task = task_that(lambda message, *_: seen.append(message))
    inspected = chunk()
    for number in range(100):  # which were never run
        consumer._keep(f"another {number}", inspected)
    consumer._keep("id", inspected)
    for _ in range(2):
        task.apply(task_id="id")
    assert len(seen) == 1
    assert seen[0] is inspected
    assert len(consumer._inspected) < 100
