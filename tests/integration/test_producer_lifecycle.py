"""The producer as a process: it leads or stands by, waits, and stops quickly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from shared.errors import TransientError
from shared.ledger import Ledger, connect_ledger
from tests.support import samples
from tests.support.producer_harness import ProducerHarness
from tests.support.samples import save_settings
from tests.support.servers import start_valkey
from tests.support.waiting import wait_for


def start_role(home: Path, process: str = "producer-1") -> subprocess.Popen[bytes]:
    with (home / f"{process}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "producer.lead.process"],
            env={**os.environ, "HEADRACE_HOME": str(home), "HEADRACE_PROCESS": process},
            cwd=Path(__file__).parents[2],
            stderr=log,
        )


def test_one_process_leads_another_stands_by_and_both_stop_quickly(
    harness: ProducerHarness,
) -> None:
    """With a store that refuses connections, which is to stop nobody from living or ending."""
    home = harness.settings.home
    save_settings(harness.settings)
    started = [start_role(home, f"producer-{number}") for number in (1, 2)]
    try:
        wait_for(lambda: len(harness.ledger.workers()) == 2, what="both leases")
        assert {worker.role for worker in harness.ledger.workers()} == {"producer"}
        leading = wait_for(lambda: harness.client.get("hr:leader"), what="a leader")
        logs = [(home / f"producer-{number}.log").read_text() for number in (1, 2)]
        first = started[0 if "leading" in logs[0] else 1]
        asked = time.monotonic()
        first.send_signal(signal.SIGTERM)
        assert first.wait(5) == 0
        assert time.monotonic() - asked < 3
        wait_for(
            lambda: harness.client.get("hr:leader") not in (None, leading),
            what="the other in the lead",
            deadline_seconds=4,  # less than the lock's five seconds: it was let go
        )
    finally:
        for process in started:
            process.terminate()
            assert process.wait(5) in (0, -signal.SIGTERM)
    assert harness.ledger.workers() == []
    for number in (1, 2):
        lines = (home / f"producer-{number}.log").read_text().splitlines()
        assert len(lines) < 20, "one line an event"


def test_a_producer_begins_as_soon_as_its_ledger_is_there(tmp_path: Path) -> None:
    valkey = start_valkey(tmp_path / "valkey")
    settings = samples.settings(tmp_path, valkey.url)
    save_settings(settings)
    ledger = connect_ledger(settings)
    config = tmp_path / "valkey" / "valkey.conf"
    command = valkey.process.args
    assert isinstance(command, list)
    assert config.exists()
    valkey.stop()
    role = start_role(tmp_path)
    again: subprocess.Popen[bytes] | None = None
    try:
        log = tmp_path / "producer-1.log"
        wait_for(lambda: "waiting" in log.read_text(), what="a complaint")
        again = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for(lambda: _workers(ledger), what="its lease")
        assert ledger.incarnation() is not None
        assert log.read_text().count("waiting: The ledger") == 1
    finally:
        role.terminate()
        assert role.wait(5) == 0
        if again is not None:
            again.terminate()
            again.wait()


def _workers(ledger: Ledger) -> bool:
    try:
        return bool(ledger.workers())
    except TransientError:
        return False
