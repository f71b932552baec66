"""The end of a class's process, however it comes: it is told, and nothing of it is left."""

from __future__ import annotations

import gc
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.fake_engine import images_of
from tests.support.hosted_class import (
    OpenClass,
    calling,
    descriptors,
    hosted,
    nothing_left,
    processes_with,
)
from tests.support.waiting import wait_for
from workers.inference.errors import ClassUnusable, HostDied, NotBegun

HANGS = {
    "a loop": "while True: pass",
    "a sleep": "time.sleep(600)",
    "with the interpreter's lock": "ctypes.PyDLL(None).sleep(600)",
    "with a stopped keeper": "os.kill(os.getppid(), signal.SIGSTOP); time.sleep(600)",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
}
ENDS = {
    "os._exit(3)": "exit status 3",
    "os.kill(os.getpid(), signal.SIGKILL)": "SIGKILL",
    "os.abort()": "SIGABRT",
    "ctypes.string_at(0)": "SIGSEGV",
    "os.closerange(0, 1000)": "it closed its connection to the worker",
    "os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)": (
        "it killed the process that looks after it"
    ),
    "os.closerange(0, 1000); time.sleep(600)": "it closed its connection to the worker",
    "os.killpg(os.getpgid(0), signal.SIGTERM); time.sleep(600)": "SIGTERM",
    "signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(600)": "SIGALRM",
}


@pytest.mark.parametrize(("body", "manner"), ENDS.items())
def test_the_end_of_a_process_is_told_with_its_manner(
    open_class: OpenClass, body: str, manner: str, mark: str
) -> None:
    engine = open_class(calling(f"if first == 9:\n    {body}"), mark=mark)
    assert engine.run(images_of(1)) == ["ok"]
    deadly, behind = engine.launch([images_of(9)]), engine.launch([images_of(1)])
    with pytest.raises(HostDied) as died:
        deadly.wait()
    assert died.value.message == manner
    with pytest.raises(NotBegun):
        behind.wait()
    assert engine.dead
    nothing_left(mark)


@pytest.mark.parametrize("hang", HANGS)
def test_a_hang_is_ended_at_its_deadline(
    open_class: OpenClass, hang: str, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.inference.class_host.process.END_SECONDS", 1.0)
    engine = open_class(calling(HANGS[hang]), mark=mark)
    with pytest.raises(HostDied, match=r"longer than 0\.3 s"):
        engine.launch([images_of(1)], 0.3).wait()
    nothing_left(mark)


LEFT = {
    "a fork": "os.fork() or (time.sleep(600), os._exit(0))",
    "a fork in a session of its own": "os.fork() or (os.setsid(), time.sleep(600), os._exit(0))",
    "a daemon": (
        "os.fork() or (os.setsid(), os.fork() and os._exit(0), time.sleep(600), os._exit(0))"
    ),
    "a program": "subprocess.Popen(['sleep', '600'])",
    "a program in a session of its own": (
        "subprocess.Popen(['sleep', '600'], start_new_session=True, close_fds=False)"
    ),
    "a program that ignores signals": (
        "subprocess.Popen(['sh', '-c', 'trap \"\" HUP INT TERM; sleep 600; sleep 600'])"
    ),
    "a pool": (
        "import multiprocessing; self.pool = multiprocessing.get_context('fork').Pool(3);"
        "self.pool.map_async(time.sleep, [600] * 3)"
    ),
    "threads": "[threading.Thread(target=time.sleep, args=[600]).start() for _ in range(200)]",
}


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("end", ["closed", "killed", "hung"])
def test_nothing_that_it_started_outlives_it(
    open_class: OpenClass, left: str, end: str, mark: str
) -> None:
    body = f"""
    {LEFT[left]}
    if first == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    if first == 8:
        time.sleep(600)
    """
    engine = open_class(calling(body), mark=mark)
    if end == "closed":
        assert engine.run(images_of(1)) == ["ok"]
        engine.close()
    else:
        with pytest.raises(HostDied):
            engine.launch([images_of(9 if end == "killed" else 8)], 0.5).wait()
    nothing_left(mark)


WORKER = """
import os, sys, time
from tests.support.fake_engine import images_of
from tests.support.hosted_class import hosted
engine = hosted(sys.argv[1], mark=sys.argv[2])
print(engine.run(images_of(1)), flush=True)
engine.launch([images_of(8)])
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("left", ["a daemon", "a program in a session of its own", "threads"])
def test_it_dies_with_its_worker_and_so_does_all_that_it_started(
    left: str, number: signal.Signals, mark: str
) -> None:
    source = calling(f"{LEFT[left]}\nif first == 8:\n    time.sleep(600)")
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, source, mark], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "['ok']\n"
        assert processes_with(mark)
        worker.send_signal(number)
        worker.wait()
    nothing_left(mark)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("class Other: pass", "own defines no class 'Own'"),
        ("Own = 5", "own defines no class 'Own'"),
        ("class Own: pass", "Own has no __call__"),
        ("raise OSError('no')", r"own\.py:1: OSError: no"),
        ("import sys; sys.exit(3)", r"own\.py:1: SystemExit: 3"),
        ("class Own", r"own\.py:1: SyntaxError: "),
        ("import missing", r"own\.py:1: ModuleNotFoundError: No module named 'missing'"),
        (calling("", "raise RuntimeError('no weights')"), r"own\.py:5: RuntimeError: no weights"),
        ("import sys; print('so far', flush=True); 1 / 0", r"own\.py:1: ZeroDivisionError"),
    ],
)
def test_a_class_that_cannot_be_constructed_is_to_blame(
    source: str, reason: str, mark: str
) -> None:
    with pytest.raises(ClassUnusable, match=reason) as refused:
        hosted(source, mark=mark, load_seconds=30)
    nothing_left(mark)
    # What the user's code raised has a traceback; what we refuse says it all in its line.
    has_own_frames = re.match(r"own.*:\d", reason) is not None
    assert ("Error" in refused.value.prints or "Exit" in refused.value.prints) == has_own_frames
    assert ("so far" in source) == ("so far" in refused.value.prints)


@pytest.mark.parametrize(
    ("init", "manner"),
    [
        ("os._exit(7)", "exit status 7"),
        ("ctypes.string_at(0)", "SIGSEGV"),
        ("time.sleep(600)", r"it took longer than 1 s"),
    ],
)
def test_the_end_of_a_process_in_its_constructor_is_told(init: str, manner: str, mark: str) -> None:
    with pytest.raises(HostDied, match=manner) as died:
        hosted(calling("", f"print('so far', flush=True)\n{init}"), mark=mark, load_seconds=1)
    assert "so far" in died.value.prints
    nothing_left(mark)


def test_an_answer_that_is_nonsense_is_the_end_of_the_host(open_class: OpenClass) -> None:
    source = calling(
        """
        import gc, socket
        for found in gc.get_objects():
            if isinstance(found, socket.socket):
                found.sendall(b"\\xff" * 64)
        """
    )
    engine = open_class(source)
    with pytest.raises(HostDied, match="nonsense"):
        engine.run(images_of(1))


def test_a_host_that_cannot_be_started_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = descriptors()
    monkeypatch.setattr(subprocess, "Popen", no_process)
    for _ in range(3):
        with pytest.raises(BlockingIOError):
            hosted(calling(""))
    assert descriptors() == before


def no_process(*_: object, **__: object) -> None:
    raise BlockingIOError(11, "Resource temporarily unavailable")


def test_opening_and_closing_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    hosted(calling("")).close()
    before = descriptors()
    for _ in range(5):
        engine = hosted(calling(""))
        engine.run(images_of(1))
        engine.close()
    gc.collect()  # areas go with their engine
    assert descriptors() <= before
    wait_for(lambda: not list(tmp_path.iterdir()), what="the end of the scratch folders")
