"""A role that only a test knows: a real stack starts it, shows it and stops it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from producer.doctor import checks as doctor
from producer.doctor.process_rows import process_rows
from producer.stack.local import down, up
from shared.settings import Settings
from shared.storage import resolve_store
from tests.support.planted_role import ROLE, only_roles, plant

MESSAGES = {"interactive": b"one", "bulk": b"two"}


def test_a_stack_runs_a_role_that_one_row_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with only_roles("producer", "flower", ROLE.name):  # to be quick
        run_it(tmp_path / "home")


def run_it(home: Path) -> None:
    """Up, look at everything, down."""
    stopped: list[str] = []
    try:
        settings = up(home, {ROLE.name: 2}, print)
        rows = {row.name: row for row in process_rows(print, home) if row.role == ROLE.name}
        assert {name: (r.state, r.held) for name, r in rows.items()} == {
            "painter-1": ("running", 0),
            "painter-2": ("running", 0),
        }
        assert doctor._roles(settings).ok
        assert [check.state for check in doctor._consumers(settings)] == ["ok"]
        assert sorted(passed_on(settings)) == sorted(MESSAGES.values())
        state = resolve_store(settings, settings.state_bucket)
        assert state.get(settings.state_bucket, f"quarantine/{ROLE.name}/0") == b"x"
    finally:
        down(home, stopped.append)
    assert stopped[-2:] == ["Stopping painter-1, painter-2.", "Stopping seaweedfs, valkey."]


def passed_on(settings: Settings) -> list[bytes]:
    """A message in each lane of the role's own queues, and what it sends to the results."""
    broker: Any
    with redis.Redis.from_url(settings.broker_url) as broker:
        for lane, text in MESSAGES.items():
            broker.lpush(f"v4.drawing.{lane}.{settings.host_id}", text)
        return [broker.brpop("v4.results.bulk", timeout=30)[1] for _ in MESSAGES]
