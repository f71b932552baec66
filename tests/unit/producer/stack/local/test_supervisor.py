"""What the stack asks of its supervisor, and in which state of a process."""

from __future__ import annotations

import xmlrpc.client
from pathlib import Path
from typing import Any

import pytest

from producer.stack.local import supervisor
from producer.stack.local.supervisor import Supervisor


class Scripted(Supervisor):
    """Its process is in one state after the other; it starts one that is not there."""

    def __init__(self, *states: str) -> None:
        super().__init__(Path("nowhere"))
        self.states, self.started = list(states), False

    def call(self, method: str, *_: Any) -> Any:
        if method == "getProcessInfo":
            return {"statename": self.states[0] if len(self.states) == 1 else self.states.pop(0)}
        assert method == "startProcess"
        if self.states[0] != "STOPPED":
            raise xmlrpc.client.Fault(60, "ALREADY_STARTED: x")
        self.started = True
        return True


def test_a_process_that_is_still_ending_starts_when_it_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One of many threads looks dead before all of them are, and before anybody may reap it."""
    monkeypatch.setattr(supervisor, "REAP_SECONDS", 0.001)
    ending = Scripted("STOPPING", "STOPPING", "STOPPED")
    ending.start("x")
    assert ending.started


def test_a_process_that_runs_is_left_alone() -> None:
    running = Scripted("RUNNING")
    running.start("x")
    assert not running.started
