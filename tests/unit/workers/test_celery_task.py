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

Process = Callable[..., None]


def run_task(process: Process, inspected: Chunk) -> None:
    """Run the task of a worker whose runtime does this with a message."""
    app = Celery(set_as_current=False)
    runtime: Any = SimpleNamespace(process=process)
    make_task(app, PREPROCESS, runtime, lambda *_: None)  # type: ignore[arg-type,return-value]
    task = app.tasks[PREPROCESS.task]
    task.push_request(inspected=inspected, lane="interactive")
    assert task.run() is None


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(1), RuntimeError("no")], ids=repr)
def test_nothing_that_is_raised_leaves_the_task(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def raises(*_: Any) -> None:
        raise error

    run_task(raises, chunk())
    assert type(error).__name__ in caplog.text


def test_a_task_is_given_the_message_that_was_inspected_and_its_lane() -> None:
    seen: list[Any] = []
    inspected = chunk()
    run_task(lambda message, lane, *_: seen.append((message, lane)), inspected)
    ((message, lane),) = seen
    assert message is inspected
    assert lane == "interactive"
