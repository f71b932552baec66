"""What a failed call means to a producer that leads: nothing, unless it goes on."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from producer.lead import process as process_module
from producer.lead.leader import Leader
from producer.lead.process import ProducerProcess
from shared.errors import TransientError
from tests.support import samples

TICKS = 6


class Flaky:
    """A leader of whose calls every second fails."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self.ticks = self.held_off = 0

    def tick(self) -> bool:
        self.ticks += 1
        if self.ticks >= TICKS:
            self._stopping.set()
        if self.ticks % 2 == 0:
            raise TransientError("broker_unavailable", "The broker does not answer.")
        return True

    def pause_rescue(self) -> None:
        self.held_off += 1


@pytest.mark.parametrize(("outage_seconds", "held_off"), [(60.0, 0), (0.0, TICKS // 2)])
def test_only_an_outage_puts_rescues_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outage_seconds: float, held_off: int
) -> None:
    """Else a broker that fails now and then would have nothing rescued at all."""
    monkeypatch.setattr(process_module, "OUTAGE_SECONDS", outage_seconds)
    stopping = threading.Event()
    nobody: Any = None
    settings = samples.settings(tmp_path, "redis://127.0.0.1:1/0")
    process: Any = ProducerProcess(settings, nobody, nobody, nobody, stopping)
    flaky = Flaky(stopping)
    process._lead, process._make_leader = lambda: True, lambda: cast(Leader, flaky)
    process.run()
    assert (flaky.ticks, flaky.held_off) == (TICKS, held_off)
