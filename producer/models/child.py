"""Processes that open a file which we do not trust: they end with us, and hold no secret."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shared.environment import BASICS, CHOSEN
from shared.errors import HeadraceError
from shared.settings import PROJECT_ROOT

# Of an export in float32 on two cores: MobileNetV3 took 1.1 GiB for 10 MiB of weights, VGG16 3.6
# for 528. A file that unpacks to more than this is stopped.
_BASE_BYTES = 4 * 2**30
_BYTES_PER_CORE = 32 * 2**20  # the stacks and arenas of threads
_COPIES = 8


class ChildEnded(HeadraceError):
    """The process ended without an answer. ``code``: ``child_killed``, or ``child_timed_out``."""


@contextmanager
def disposable_child(
    module: str, folder: Path, file_bytes: int
) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m module`` with pipes for stdin and stdout, and what it starts, until the end.

    It has a session of its own, so Ctrl-C is ours alone. What it says is shown with
    HEADRACE_DEBUG=1. Its environment has none of our addresses and secrets and no proxy, and
    ``folder`` for temporary files. Its memory is bounded by the size of the file that it is for:
    what it may write to (RLIMIT_DATA), since torch reserves far more addresses than it uses.
    """
    environment = {name: os.environ[name] for name in BASICS if name in os.environ}
    with subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if os.environ.get("HEADRACE_DEBUG") == "1" else subprocess.DEVNULL,
        cwd=PROJECT_ROOT,
        env={**environment, **CHOSEN, "TMPDIR": str(folder)},
        start_new_session=True,
    ) as process:
        try:
            bound = _BASE_BYTES + _BYTES_PER_CORE * (os.cpu_count() or 1) + _COPIES * file_bytes
            with suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_DATA, (bound, bound))
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()  # after Ctrl-C, Popen itself does not


def answered(
    process: subprocess.Popen[bytes], request: bytes, seconds: float, doing: str
) -> list[str]:
    """The lines that it prints once it has read ``request``.

    ``doing``: what it is for, as in "that reads cats.pth". Raises ChildEnded where it does not
    end in time, or is ended.
    """
    try:
        printed, _ = process.communicate(request, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise ChildEnded(
            "child_timed_out",
            f"The process {doing} did not end within {seconds:,.0f} seconds.",
            "Try it on a faster or less busy machine, or make the file smaller.",
        ) from error
    if process.returncode < 0:
        raise ChildEnded(
            "child_killed",
            f"The process {doing} was ended by {_signal_name(-process.returncode)}.",
            "If memory ran out, free some or take a smaller file; else the file is damaged.",
        )
    return printed.decode(errors="replace").splitlines()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
