"""Deadlines: one timer for many threads; a process that hangs ends, even if it holds the GIL."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from workers.deadline import NO_DEADLINE, Deadlines


class FakeTimer:
    def __init__(self) -> None:
        self.now = 0.0
        self.due: float | None = None
        self.set = 0

    def arm(self, seconds: float) -> None:
        self.set += 1
        self.due = self.now + seconds

    def disarm(self) -> None:
        self.due = None


@pytest.fixture
def timer() -> FakeTimer:
    return FakeTimer()


@pytest.fixture
def deadlines(timer: FakeTimer) -> Deadlines:
    return Deadlines(timer.arm, timer.disarm, lambda: timer.now)


def test_the_timer_is_set_for_the_earliest_and_taken_away_with_the_last(
    timer: FakeTimer, deadlines: Deadlines
) -> None:
    with deadlines.watched() as slow, deadlines.watched() as fast:
        assert timer.due is None
        slow(100)
        assert timer.due == pytest.approx(110)
        fast(10)
        assert timer.due == pytest.approx(11)
        timer.now = 5
        fast(10)
        assert 15 <= timer.due <= 16.5
    assert timer.due is None


def test_what_remains_is_still_watched(timer: FakeTimer, deadlines: Deadlines) -> None:
    with deadlines.watched() as outer:
        outer(10)
        with deadlines.watched() as inner:
            inner(100)
        assert timer.due is not None
        assert 10 <= timer.due <= 11


def test_a_deadline_that_was_met_leaves_no_timer_before_the_next(
    timer: FakeTimer, deadlines: Deadlines
) -> None:
    """Two threads with deadlines of their own: what the first had is nothing to the second."""
    with deadlines.watched() as long:
        with deadlines.watched() as short:
            short(10)
            timer.now = 1
            long(600)
            timer.now = 5
            short(NO_DEADLINE)
            assert timer.due is not None
            assert timer.due >= 601
        assert timer.due >= 601


def test_every_step_gets_its_time_and_the_timer_is_seldom_set(
    timer: FakeTimer, deadlines: Deadlines
) -> None:
    with deadlines.watched() as renew:
        for _ in range(1000):
            renew(60)
            assert timer.due is not None
            assert 60 <= timer.due - timer.now <= 66
            timer.now += 0.01
    assert timer.set < 5


def test_who_waits_has_no_deadline_until_the_next_step(
    timer: FakeTimer, deadlines: Deadlines
) -> None:
    with deadlines.watched() as renew:
        renew(10)
        renew(NO_DEADLINE)
        assert timer.due is None
        renew(10)
        assert timer.due == pytest.approx(11)
    assert timer.due is None


# Native code that keeps the GIL: PyDLL does not let go of it, as a careless extension.
HANGS = {
    "without the GIL": "time.sleep(60)",
    "in Python": "while True: pass",
    "holding the GIL": "ctypes.PyDLL(None).sleep(60)",
}


@pytest.mark.parametrize("hang", HANGS)
def test_a_process_that_hangs_ends_and_says_where(hang: str) -> None:
    program = (
        "import ctypes, threading, time\n"
        "from workers.deadline import deadlines\n"
        "def work():\n"
        "    with deadlines.watched() as renew:\n"
        "        renew(0.3)\n"
        f"        {HANGS[hang]}\n"
        "thread = threading.Thread(target=work)\nthread.start()\nthread.join()\n"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "in work" in done.stderr
    assert time.monotonic() - started < 20
