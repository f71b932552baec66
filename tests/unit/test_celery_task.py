"""No exception leaves a task: Celery would answer some of them by consuming nothing more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from shared.ledger import Stage
from shared.messages import Chunk
from workers.celery_worker import make_task


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
