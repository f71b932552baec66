"""Items in a disposable child: the killer fails alone, with evidence, and its neighbours do not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from shared.errors import TransientError
from tests.support.waiting import wait_for
from workers.suspects import MAX_LOST_RUNS, ChildUnstartable, KillVerdict, Note, SuspectTrial
from workers.suspects.packet import Packet

CHILD = "tests.support.suspect_child"


def pid_seen_payload(packet: Packet) -> tuple[int, int, bytes]:
    if "pid" not in packet.header:
        raise ValueError("no pid")
    return packet.header["pid"], packet.header["seen"], packet.payload


def nothing_lost(item: int | None) -> int:
    return 0


def trial_of(
    begin: Packet = Packet({}),
    *,
    item_seconds: float = 20.0,
    note: Note = nothing_lost,
    stopping: threading.Event | None = None,
) -> SuspectTrial[tuple[int, int, bytes]]:
    return SuspectTrial(
        CHILD,
        begin,
        pid_seen_payload,
        start_seconds=30,
        item_seconds=item_seconds,
        note=note,
        stopping=stopping or threading.Event(),
    )


def test_good_items_share_one_child_that_ends_with_the_trial() -> None:
    large = os.urandom(3 * 2**20)
    with trial_of() as trial:
        answers = [trial.run(n, payload) for n, payload in enumerate((b"ab", b"", large))]
        (pid,) = {answer[0] for answer in answers if not isinstance(answer, KillVerdict)}
        assert psutil.pid_exists(pid)
        if sys.platform == "linux":
            assert trial.ready().header["oom"].strip() == "1000"
    assert [answer[2] for answer in answers] == [b"ba", b"", large[::-1]]  # type: ignore[index]
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    ("deed", "manner"),
    [
        (b"abort", "SIGABRT"),
        (b"exit", "exit status 3"),
        (b"leave a child", "exit status 4"),
        (b"nonsense", "it answered nonsense"),
    ],
)
def test_a_killer_fails_alone_and_after_two_deaths(deed: bytes, manner: str) -> None:
    with trial_of() as trial:
        before, killer, after = (trial.run(0, payload) for payload in (b"a", deed, b"b"))
    assert isinstance(killer, KillVerdict)
    assert manner in killer.reason
    assert not isinstance(before, KillVerdict)
    assert not isinstance(after, KillVerdict)
    assert after[1:] == (1, b"b")  # the first item of a fresh child
    assert after[0] != before[0]


def test_what_took_its_worker_along_five_times_is_not_run() -> None:
    lost = {1: MAX_LOST_RUNS - 1, 2: MAX_LOST_RUNS}
    noted: list[int | None] = []

    def note(item: int | None) -> int:
        noted.append(item)
        return lost.get(item or 0, 0)

    with trial_of(note=note) as trial:
        answers = [trial.run(n, b"a") for n in range(4)]
    assert [isinstance(answer, KillVerdict) for answer in answers] == [False, False, True, False]
    assert noted == [0, None, 1, None, 2, 3, None]
    assert isinstance(answers[2], KillVerdict)
    assert "5 times" in answers[2].reason


def test_an_item_that_the_worker_does_not_finish_stays_noted() -> None:
    stopping = threading.Event()
    noted: list[int | None] = []

    def note(item: int | None) -> int:
        noted.append(item)
        stopping.set()
        return 0

    with trial_of(note=note, stopping=stopping) as trial, pytest.raises(TransientError):
        trial.run(3, b"a")
    assert noted == [3]


@pytest.mark.parametrize("deed", [b"loop", b"loop holding the GIL"])
def test_a_hang_is_a_death(deed: bytes) -> None:
    with trial_of(item_seconds=1) as trial:
        started = time.monotonic()
        verdict = trial.run(0, deed)
    assert isinstance(verdict, KillVerdict)
    assert "it took longer than 1 s" in verdict.reason
    assert time.monotonic() - started < 15


def test_one_death_is_no_evidence() -> None:
    with trial_of() as trial:
        first = trial.run(0, b"a")
        assert not isinstance(first, KillVerdict)
        os.kill(first[0], signal.SIGKILL)  # as an OOM killer would, whatever ran there
        second = trial.run(0, b"b")
    assert not isinstance(second, KillVerdict)
    assert second[1:] == (1, b"b")


def test_a_child_that_dies_before_it_began_accuses_nobody() -> None:
    with trial_of(Packet({"die": True})) as trial, pytest.raises(ChildUnstartable, match="SIGABRT"):
        trial.run(0, b"a")


def test_a_worker_that_stops_waits_for_no_child() -> None:
    stopping = threading.Event()
    threading.Timer(0.5, stopping.set).start()
    with trial_of(item_seconds=600, stopping=stopping) as trial, pytest.raises(TransientError):
        trial.run(0, b"loop")


PARENT = """
import threading
from tests.unit.workers.suspects.test_suspect_trial import trial_of
trial = trial_of(item_seconds=600)
print(trial.ready().header["pid"], flush=True)
trial.run(0, b"loop holding the GIL")
"""


def test_a_child_dies_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: _is_gone(pid), what="the end of the child")


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
