"""``ps``: the processes of this stack, and the workers that other hosts have joined to it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from producer.connections import Connections
from producer.doctor import process_rows
from producer.doctor.stalls import Finding
from producer.stack.process_state import ProcessState
from shared.errors import TransientError
from shared.ledger import Ledger, LiveWorker
from tests.support import samples

HERE = ProcessState("inference", "inference-1", 10, "running", 60.0)
LEASES = [
    LiveWorker("a", "inference", "inference-1", "testhost", 10, ("x 1",)),
    LiveWorker("b", "inference", "inference-1", "otherhost", 10, ("x 2", "x 3")),
]

FOUND: list[Finding] = []


class Leases:
    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def workers(self) -> list[LiveWorker]:
        if self._error:
            raise self._error
        return LEASES


Rows = Callable[[list[ProcessState], Leases, list[str]], list[tuple[object, ...]]]


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rows:
    def rows(
        found: list[ProcessState], ledger: Leases, said: list[str]
    ) -> list[tuple[object, ...]]:
        monkeypatch.setattr(process_rows, "processes", lambda home: found)
        settings = samples.settings(tmp_path)
        connections = Connections(settings, cast(Any, None), cast(Ledger, ledger), cast(Any, None))
        monkeypatch.setattr(process_rows, "connect_stack", lambda home: connections)
        monkeypatch.setattr(process_rows, "findings", lambda *_: FOUND)
        shown = process_rows.process_rows(said.append, tmp_path)
        return [(row.name, row.pid, row.state, row.held, *row.warnings) for row in shown]

    return rows


def test_workers_of_other_hosts_are_shown_beside_ours(rows: Rows) -> None:
    assert rows([HERE], Leases(), []) == [
        ("inference-1", 10, "running", 1),
        ("inference-1@otherhost", 10, "elsewhere", 2),
    ]


def test_without_a_ledger_ours_are_all(rows: Rows) -> None:
    said: list[str] = []
    away = Leases(TransientError("ledger_unavailable", "It does not answer."))
    assert rows([HERE], away, said) == [("inference-1", 10, "running", None)]
    assert said == ["It does not answer."]


def test_a_stack_that_is_not_up_shows_nothing(rows: Rows) -> None:
    assert rows([], Leases(), []) == []


def test_what_stands_still_is_said_of_its_worker_or_else_of_its_role(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        Finding("One.", "Do.", "inference", "b"),
        Finding("Two.", "Do.", "inference"),
        Finding("Three.", "Do.", "inference", "a worker that has died"),
        Finding("Four.", "Do.", "preprocess"),
    ]
    monkeypatch.setattr(sys.modules[__name__], "FOUND", found)
    assert rows([HERE], Leases(), []) == [
        ("inference-1", 10, "running", 1, "Two. Do.", "Three. Do."),
        ("inference-1@otherhost", 10, "elsewhere", 2, "One. Do.", "Two. Do.", "Three. Do."),
    ]
