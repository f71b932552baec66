"""No exception leaves a task: Celery would answer some of them by consuming nothing more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from shared.ledger import Stage
from shared.messages import Chunk
from tests.samples import chunk
from workers.celery_worker import make_task
from workers.quarantine import consumer


class Raising:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def process(self, *_: Any) -> None:
        raise self.error


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(1), RuntimeError("no")], ids=repr)
def test_nothing_that_is_raised_leaves_the_task(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Chunk, "model_validate_json", lambda _: SimpleNamespace())
    app = Celery(set_as_current=False)
    contract: Any = SimpleNamespace(task="headrace.test", message_type=Chunk)
    runtime: Any = Raising(error)
    make_task(app, contract, Stage.PREPROCESS, runtime, lambda *_: None)  # type: ignore[arg-type,return-value]
    assert app.tasks["headrace.test"]("{}", "signature") is None
    assert type(error).__name__ in caplog.text


def test_a_body_that_cannot_be_read_does_not_leave_it_either(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Celery(set_as_current=False)
    contract: Any = SimpleNamespace(task="headrace.test", message_type=Chunk)
    runtime: Any = Raising(AssertionError("is not called"))
    make_task(app, contract, Stage.PREPROCESS, runtime, lambda *_: None)  # type: ignore[arg-type,return-value]
    assert app.tasks["headrace.test"]("{}", "signature") is None
    assert "ValidationError" in caplog.text


def test_what_was_inspected_is_not_read_again() -> None:
    app = Celery(set_as_current=False)
    contract: Any = SimpleNamespace(task="headrace.test", message_type=Chunk)
    seen: list[Any] = []
    runtime: Any = SimpleNamespace(process=lambda message, *_: seen.append(message))
    make_task(app, contract, Stage.PREPROCESS, runtime, lambda *_: None)  # type: ignore[arg-type,return-value]
    inspected = chunk()
    body = inspected.model_dump_json()
    for number in range(100):  # which were never run
        consumer._keep(f"another {number}", inspected)
    consumer._keep("id", inspected)
    for _ in range(2):
        app.tasks["headrace.test"].apply((body, "signature"), task_id="id")
    assert seen == [inspected, inspected]
    assert seen[0] is inspected
    assert seen[1] is not inspected
    assert len(consumer._inspected) < 100
