"""A guarded thread ends its process unless it was told to end, whatever stands in the way."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from shared.threads import EXIT_STATUS

PROCESS = """
import logging, os, sys, threading, time
from shared.threads import guarded

logging.basicConfig(stream=sys.stderr)
told = threading.Event()


class Mute(logging.Handler):
    def emit(self, record):
        raise SystemExit


def fail():
    raise ValueError("the reason \\udcff")


def leave():
    return


def leave_the_thread():
    raise SystemExit


def run_out_of_memory():
    raise MemoryError("the reason")


def hang_up(lock):
    with lock:
        time.sleep(60)


def without_stderr():
    sys.stderr.close()
    sys.stdout.close()
    fail()


def with_a_handler_that_raises():
    logging.getLogger().addHandler(Mute())
    fail()


def with_a_handler_that_hangs():
    handler = logging.getLogger().handlers[0]
    threading.Thread(target=hang_up, args=(handler.lock,), daemon=True).start()
    while handler.lock.acquire(blocking=False):
        handler.lock.release()
    fail()


def with_a_log_that_nobody_reads():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writer, True)
    os.dup2(writer, 2)
    fail()


def with_no_descriptor():
    os.closerange(0, 100)
    fail()


def when_told():
    told.wait(60)


thread = guarded("worker", globals()[sys.argv[1]], ended=told.is_set)
thread.start()
if sys.argv[1] == "when_told":
    told.set()
    thread.join()
    sys.exit(3)
time.sleep(60)
"""


def run(body: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROCESS, body]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("fail", "ValueError: the reason"),
        ("leave", "It returned."),
        ("leave_the_thread", "SystemExit"),
        ("run_out_of_memory", "MemoryError: the reason"),
        ("without_stderr", "ValueError: the reason"),
        ("with_a_handler_that_raises", "ValueError: the reason"),
        ("with_a_handler_that_hangs", "ValueError: the reason"),
    ],
)
def test_it_ends_the_process_and_says_why(body: str, reason: str) -> None:
    process = run(body)
    assert process.returncode == EXIT_STATUS
    assert "the thread 'worker' ended unexpectedly" in process.stderr
    assert reason in process.stderr


@pytest.mark.parametrize("body", ["with_a_log_that_nobody_reads", "with_no_descriptor"])
def test_it_ends_the_process_where_nothing_can_be_said(body: str) -> None:
    assert run(body).returncode == EXIT_STATUS


def test_a_thread_that_was_told_to_end_leaves_the_process_alone() -> None:
    process = run("when_told")
    assert (process.returncode, process.stderr) == (3, "")


def test_no_thread_of_ours_is_started_without_a_guard() -> None:
    root = Path(__file__).parents[3]
    files = [
        path
        for folder in ("producer", "shared", "workers")
        for path in (root / folder).rglob("*.py")
    ]
    found = {
        str(path.relative_to(root))
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).split(".")[-1] in ("Thread", "Timer")
    }
    assert found == {"shared/threads.py"}
