"""A broker that knows another password, or has no memory left: said once, waited for, survived."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from shared.errors import TransientError
from shared.ledger import Ledger, connect_ledger
from shared.settings import Settings
from tests.support import samples
from tests.support.samples import save_settings
from tests.support.servers import RunningValkey, start_valkey
from tests.support.waiting import wait_for

COMMANDS = {
    "preprocess": ("tests.support.workers.echo_worker", "preprocess"),
    "producer": ("producer.lead.process",),
}
ATTEMPTS = 5


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningValkey]:
    """A broker of one's own: others would suffer from what is done to it."""
    server = start_valkey(tmp_path / "valkey")
    yield server
    server.stop()


@pytest.fixture
def admin(server: RunningValkey) -> Any:
    return redis.Redis.from_url(server.url, decode_responses=True)


@contextmanager
def running(role: str, settings: Settings) -> Iterator[Path]:
    """A process of ``role``. Gives its log."""
    save_settings(settings)
    log = settings.home / f"{role}.log"
    process = subprocess.Popen(
        [sys.executable, "-m", *COMMANDS[role]],
        env={**os.environ, "HEADRACE_HOME": str(settings.home), "HEADRACE_PROCESS": role},
        stderr=log.open("wb"),
        cwd=Path(__file__).parents[2],
    )
    try:
        yield log
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(20)


def leased(ledger: Ledger) -> list[int]:
    return [worker.pid for worker in ledger.workers()]


@pytest.mark.parametrize("role", COMMANDS)
def test_a_wrong_password_is_one_line_however_long_it_lasts(
    role: str, server: RunningValkey, admin: Any, tmp_path: Path
) -> None:
    connect_ledger(samples.settings(tmp_path, server.url)).begin(samples.INCARNATION)
    host = server.url.rpartition("@")[2]
    settings = samples.settings(tmp_path, f"redis://:of-another-home@{host}")
    with running(role, settings) as log:
        wait_for(
            lambda: admin.info("stats")["acl_access_denied_auth"] >= ATTEMPTS,
            what="attempts to get in",
            deadline_seconds=60,
        )
        (line,) = [line for line in log.read_text().splitlines() if "refuses" in line]
        assert "waiting: The" in line
        assert "refuses this user with this password" in line
        assert log.read_text().count("WARNING") == 1, log.read_text()

        admin.execute_command("ACL", "SETUSER", "default", ">of-another-home")
        ledger = connect_ledger(settings)
        wait_for(lambda: leased(ledger), what="its lease", deadline_seconds=60)


def test_a_full_broker_costs_no_worker_its_lease_for_good(
    server: RunningValkey, admin: Any, tmp_path: Path
) -> None:
    settings = samples.settings(tmp_path, server.url)
    ledger = connect_ledger(settings)
    ledger.begin(samples.INCARNATION)
    with running("preprocess", settings):
        (pid,) = wait_for(lambda: leased(ledger), what="its lease", deadline_seconds=60)
        admin.config_set("maxmemory", 1)
        with pytest.raises(TransientError, match="its memory is full"):
            ledger.hint("job")
        wait_for(lambda: not leased(ledger), what="the end of its lease", deadline_seconds=60)
        admin.config_set("maxmemory", 0)
        wait_for(lambda: leased(ledger) == [pid], what="a new lease", deadline_seconds=60)
