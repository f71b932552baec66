"""Threads that their process cannot do without: one that ends unexpectedly ends the process.

Code that waits for the result of a dead thread waits for ever, while the lease is renewed and all
seems well. The supervisor starts an ended process again, and its chunks are given
on as after any other death.

Threads of an executor need no such guard where somebody waits for each of their futures: what is
raised there is raised in the one who waits.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable

# EX_SOFTWARE of sysexits.h. No role ends so otherwise.
EXIT_STATUS = 70
_STDERR = 2
# Of a reason the last so many characters: the exception's own line is the last one.
_MAX_CHARACTERS = 16_000
# The process that reads the log may have stopped.
_ROOM_MILLISECONDS = 2000


def guarded(name: str, body: Callable[[], None], *, ended: Callable[[], bool]) -> threading.Thread:
    """A daemon thread that runs ``body``. It is yet to be started.

    The process ends with ``EXIT_STATUS``, and says why in its log, when ``body`` raises anything,
    or returns while ``ended()`` is not true: before it was told to, or had done all it is for.
    """

    def run() -> None:
        expected = False
        try:
            body()
            expected = ended()
        finally:
            if not expected:
                _end_process(f"the thread '{name}' ended unexpectedly, and its process with it")

    return threading.Thread(target=run, name=name, daemon=True)


def _end_process(reason: str) -> None:
    try:
        moment = time.strftime("%Y-%m-%d %H:%M:%S")
        raised = sys.exc_info()[1] is not None
        why = traceback.format_exc()[-_MAX_CHARACTERS:] if raised else "It returned.\n"
        _write(f"{moment} CRITICAL {__name__}: {reason}\n{why}")
    finally:
        os._exit(EXIT_STATUS)


def _write(text: str) -> None:
    """Straight to stderr. Handlers of ``logging`` may raise, or hang with their lock held."""
    rest = text.encode(errors="backslashreplace")
    room = select.poll()
    room.register(_STDERR, select.POLLOUT)
    while rest and room.poll(_ROOM_MILLISECONDS):
        rest = rest[os.write(_STDERR, rest[: select.PIPE_BUF]) :]
