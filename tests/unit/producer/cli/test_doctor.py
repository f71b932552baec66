"""``doctor``, ``info`` and ``ps``: with no stack, with one that is broken, and what they hide."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path

import pytest

from producer.cli.exits import run
from producer.doctor import checks as doctor
from producer.doctor.checks import Check
from producer.doctor.stalls import Finding
from producer.stack.process_state import ProcessState
from shared.errors import TransientError
from shared.settings import load_settings
from tests.support.fake_connections import fake_connections
from tests.support.samples import save_settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("HEADRACE_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "a home at 100%"
    monkeypatch.setenv("HEADRACE_HOME", str(home))
    return home


@pytest.fixture
def configured(home: Path, tmp_path: Path) -> Path:
    """A home with settings, where nothing runs."""
    settings = fake_connections(tmp_path, home=home, flower_url="http://127.0.0.1:1").connections
    home.mkdir()
    save_settings(settings.settings)
    return home


def test_doctor_without_a_stack_says_so_and_makes_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "No stack is set up" in printed
    assert "headrace up" in printed
    assert not home.exists()


def test_doctor_with_a_stack_that_is_down(
    configured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == ["checks"]
    checks = {check["name"]: check for check in answer["checks"]}
    assert set(checks) == {"python", "disk", "ring", "stack"}
    assert checks["stack"]["state"] == "warning"
    for check in checks.values():
        assert check.keys() >= {"name", "ok", "seconds", "hint"}
        assert check["ok"] is (check["state"] == "ok")
        assert bool(check["hint"]) is not check["ok"]
        assert check["seconds"] >= 0


def test_doctor_with_a_stack_that_does_not_answer(
    configured: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise TransientError("store_unavailable", "It does not answer.", "Start it.")

    monkeypatch.setenv("HEADRACE_MODE", "docker")
    monkeypatch.setattr(doctor, "resolve_store", refuse)
    assert run(["doctor", "--json"]) == 1
    checks = json.loads(capsys.readouterr().out)["checks"]
    failed = {check["name"] for check in checks if check["state"] == "failed"}
    services = {"broker", "ledger", "late", "clock", "store", "roles", "flower"}
    assert failed == {"ring", "models", *services}
    assert all(check["hint"] for check in checks if check["state"] == "failed")


class Counts:
    """A ledger of which only late messages are known; ``growth`` come with each look."""

    def __init__(self, growth: int) -> None:
        self._late, self._growth = 40, growth

    def incarnation(self) -> str:
        return "1" * 16

    def workers(self) -> list[object]:
        return []

    def stale_counts(self) -> dict[str, int]:
        self._late += self._growth
        return {"state": 2, "attempt": self._late}


@pytest.mark.parametrize(("growth", "state"), [(0, "ok"), (5, "ok"), (6, "warning")])
def test_doctor_says_how_much_came_too_late_and_warns_where_it_becomes_more(
    configured: Path, monkeypatch: pytest.MonkeyPatch, growth: int, state: str
) -> None:
    counts = Counts(growth)
    monkeypatch.setattr(doctor.ledgers, "connect_ledger", lambda _: counts)
    monkeypatch.setenv("HEADRACE_MODE", "docker")
    (late,) = (check for check in doctor.examine() if check.name == "late")
    assert late.state == state
    assert f"{42 + 2 * growth} messages" in late.detail
    assert f"(attempt {40 + 2 * growth}, state 2)" in late.detail
    assert bool(late.hint) is (state == "warning")


def test_each_finding_is_a_line_of_its_own(
    configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(configured)
    found = [Finding("One.", "Do this.", "inference"), Finding("Two.", "Do that.", "collector")]
    monkeypatch.setattr(doctor, "overdue_chunks", lambda _: found)
    assert [(c.ok, c.state, c.detail, c.hint) for c in doctor._chunks(settings)] == [
        (False, "failed", "One.", "Do this."),
        (False, "failed", "Two.", "Do that."),
    ]
    found.clear()
    (well,) = doctor._chunks(settings)
    assert well.ok


def test_doctor_prints_each_check_as_it_is_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def examine(*_: object) -> Generator[Check]:
        yield Check(name="one", ok=True, state="ok", detail="Fine.")
        yield Check(name="two", ok=False, state="failed", detail="Broken\n.", hint="Fix it.")

    monkeypatch.setattr(doctor, "examine", examine)
    assert run(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "ok      one              Fine.",
        "FAILED  two              Broken\\n. Fix it.",
    ]


def test_info_is_masked_but_in_json(configured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info"]) == 0
    assert "secret@" not in capsys.readouterr().out
    assert run(["info", "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert list(info) == [
        *("home", "mode", "broker_url", "ledger_url", "staging_url", "s3", "flower_url"),
        *("queues", "processes"),
    ]
    assert info["broker_url"] == "redis://:secret@127.0.0.1:1/0"
    assert set(info["s3"]) == {
        *("endpoint", "access_key", "secret_key", "region"),
        "secure",
        "ca_file",
    }
    assert info["home"] == str(configured)
    assert [(queue["role"], queue["lane"]) for queue in info["queues"]] == [
        (role, lane)
        for role in ("preprocess", "inference", "collector")
        for lane in ("interactive", "bulk")
    ]
    assert set(info["queues"][0]) == {"name", "role", "task", "lane"}


def test_ps_shows_processes_even_where_the_ledger_does_not_answer(
    configured: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ProcessState("preprocess", "preprocess-1", 42, "running", 3725.0)
    monkeypatch.setattr("producer.doctor.process_rows.processes", lambda _home: [state])
    assert run(["ps", "--json"]) == 0
    printed = capsys.readouterr()
    (row,) = json.loads(printed.out)
    assert (row["name"], row["pid"], row["held"]) == ("preprocess-1", 42, None)
    assert "does not answer" in printed.err
    assert run(["ps"]) == 0
    assert "1:02:05" in capsys.readouterr().out
