"""A slot comes free however its process ends and whatever it has forked; its holder is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import TransientError
from shared.ledger import ChunkRef
from shared.settings import RingSettings
from shared.staging import Layout, create_ring, open_ring
from shared.staging.holders import described, holders
from tests.support.waiting import wait_for

HOLDER = """
import ctypes, multiprocessing, os, signal, subprocess, sys, threading, time
from shared.ledger import ChunkRef
from shared.settings import RingSettings
from shared.staging import open_ring

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def by_os_fork():
    if (pid := os.fork()) == 0:
        time.sleep(60)
    return pid


def by_multiprocessing():
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    multiprocessing.process._children.clear()  # else they are waited for
    return process.pid


def by_subprocess():
    return subprocess.Popen(SLEEP, close_fds=False, preexec_fn=os.getpid).pid


def while_others_take():
    def take_and_let_go():
        while True:
            take(1).abandon()

    for _ in range(4):
        threading.Thread(target=take_and_let_go, daemon=True).start()
    return by_os_fork()


def by_c_code():
    if (pid := ctypes.CDLL(None).fork()) == 0:
        ctypes.CDLL(None).sleep(60)
        ctypes.CDLL(None)._exit(0)
    return pid


def take(size):
    return ring.take(size, ChunkRef("i" * 16, "j" * 16, 5, 1),
                     staged=lambda refs: [True for _ in refs], stopping=lambda: False)


ring = open_ring(RingSettings.model_validate_json(sys.argv[1]), "here")
hold = take(4096)
child = globals()[sys.argv[2]]()
print(child, flush=True)
sys.stdin.readline()
if sys.argv[3] == "release":
    hold.release()
    print("released", flush=True)
    sys.stdin.readline()
elif sys.argv[3] == "raise":
    raise RuntimeError
elif sys.argv[3] == "_exit":
    os._exit(1)
elif sys.argv[3] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""
# Python's own forks, of which nothing may keep a slot, however their parent ends.
FORKS = ("by_os_fork", "by_multiprocessing", "by_subprocess", "while_others_take")
ENDS = ("return", "raise", "_exit", "kill")


@pytest.fixture
def settings(tmp_path: Path) -> RingSettings:
    settings = RingSettings(directory=tmp_path / "ring", slot_bytes=(64, 4096), slot_counts=(5, 1))
    create_ring(settings)
    return settings


@pytest.fixture
def children() -> Iterator[list[int]]:
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def start(settings: RingSettings, fork: str, end: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, settings.model_dump_json(), fork, end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def child_of(holder: subprocess.Popen[str]) -> int:
    assert holder.stdout is not None
    return int(holder.stdout.readline())


def go_on(holder: subprocess.Popen[str]) -> None:
    assert holder.stdin is not None
    holder.stdin.write("\n")
    holder.stdin.flush()


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("end", ENDS)
def test_a_slot_comes_free_though_a_forked_child_stays(
    settings: RingSettings, children: list[int], fork: str, end: str
) -> None:
    with start(settings, fork, end) as holder:
        children.append(child_of(holder))
        go_on(holder)
        holder.wait(30)
        wait_for(lambda: not holders(Layout.of(settings)), what="free slots", deadline_seconds=10)
        os.kill(children[0], 0)  # it is there still


def test_a_slot_that_is_let_go_is_free_though_c_code_has_forked(
    settings: RingSettings, children: list[int]
) -> None:
    with start(settings, "by_c_code", "release") as holder:
        children.append(child_of(holder))
        assert list(holders(Layout.of(settings)).values()) == [[holder.pid, children[0]]]
        go_on(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "released\n"
        assert holders(Layout.of(settings)) == {}
        go_on(holder)


def test_the_holder_is_named_though_it_has_not_taken_the_lock_itself(
    settings: RingSettings, children: list[int]
) -> None:
    with start(settings, "by_c_code", "kill") as holder:
        children.append(child_of(holder))
        go_on(holder)
        holder.wait(30)
    assert list(holders(Layout.of(settings)).values()) == [children]
    assert described(set(children)).startswith(f"{children[0]} ({Path(sys.executable).name} -c ")
    assert described(set()) == "unknown"


def test_a_ring_that_stays_full_is_said_once_in_a_while_with_who_holds_it(
    settings: RingSettings,
    children: list[int],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.staging.ring._FULL_SECONDS", 0.5)
    looks: list[int] = []

    def enough() -> bool:
        looks.append(len(caplog.messages))
        return len(caplog.messages) == 2

    with start(settings, "by_os_fork", "return") as holder:
        children.append(child_of(holder))
        with pytest.raises(TransientError):
            open_ring(settings, "here").take(
                4096, ChunkRef("i" * 16, "j" * 16, 6, 1), staged=lambda _: [], stopping=enough
            )
        go_on(holder)
    assert looks.count(1) > 1  # it looked again and said nothing
    assert caplog.messages[0].startswith(
        "none of 1 slots has come free for 0.5 s: 1 are locked, by "
        f"{holder.pid} ({Path(sys.executable).name} -c "
    )


def test_a_ring_whose_chunks_all_wait_names_nobody(
    settings: RingSettings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.staging.ring._FULL_SECONDS", 0.1)
    ring = open_ring(settings, "here")

    def take(number: int) -> None:
        ring.take(
            *(4096, ChunkRef("i" * 16, "j" * 16, number, 1)),
            staged=lambda asked: [True] * len(asked),
            stopping=lambda: bool(caplog.messages),
        ).release()

    take(0)
    with pytest.raises(TransientError):
        take(1)
    assert caplog.messages[0].endswith("s: all wait for inference")
