"""``python -I host.py CONTROL LIFELINE FOLDER``: the keeper, and below it the user's class.

``CONTROL`` and ``LIFELINE`` are the numbers of two sockets. Frames go over the first, between the
worker and the class. The keeper alone holds the second: it ends when the worker does. By it the
keeper tells the worker which process the class is in, how that ended, and when all that it had
started is gone. ``FOLDER`` holds the class's code; the keeper removes it.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import socket
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
# How long processes that were killed may take to be gone.
_END_SECONDS = 10.0


def load_beside(path: Path) -> ModuleType:
    """A module of ours by its file, under a name that no user's module has."""
    name = f"_headrace_{path.stem}"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(control: int, lifeline: int, folder: Path) -> int:
    """Fork, and keep the child. Returns the keeper's exit code."""
    if sys.platform == "linux":
        # What the class leaves behind becomes our child, however far it went from its parent.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(lifeline)
        os.setpgid(0, 0)
        load_beside(Path(__file__).with_name("serving.py")).serve(control, keeper)
        os._exit(0)
    os.close(control)
    status = keep(child, socket.socket(fileno=lifeline))
    shutil.rmtree(folder, ignore_errors=True)
    return status


def keep(child: int, lifeline: socket.socket) -> int:
    """Wait for the end of the child or of the worker, then end all that is left."""
    tell(lifeline, {"pid": child})
    readable, woken = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    watched = select.poll()
    watched.register(lifeline, select.POLLIN)
    watched.register(readable, select.POLLIN)
    while (ended := reap(child)) is None:
        if lifeline.fileno() in dict(watched.poll()):
            break
        os.read(readable, 4096)
    tell(lifeline, {"ended": ended})
    end_all(child)
    tell(lifeline, {"gone": None})
    return 0


def tell(lifeline: socket.socket, what: dict[str, Any]) -> None:
    """One line to the worker, if it is still there."""
    try:
        lifeline.sendall(json.dumps(what).encode() + b"\n")
    except OSError:
        pass


def reap(child: int) -> int | None:
    """Take note of all that has ended. Returns the child's exit code, once it has one."""
    ended = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        if pid == child:
            ended = os.waitstatus_to_exitcode(status)


def end_all(child: int) -> None:
    """Kill the child's group, and whatever became a child of ours, until there is nothing left."""
    deadline = time.monotonic() + _END_SECONDS
    kill(os.killpg, child)
    while time.monotonic() < deadline:
        for pid in children():
            kill(os.kill, pid)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def kill(how: Any, pid: int) -> None:
    """Send SIGKILL to what may be gone."""
    try:
        how(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def children() -> list[int]:
    """The processes whose parent this is."""
    found, own = [], os.getpid()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = entry.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(after_name[1]) == own:
            found.append(int(entry.parent.name))
    return found


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
