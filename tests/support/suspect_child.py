"""A child that does what it is sent: ``python -m tests.support.suspect_child PARENT``."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

from workers.suspects.packet import Packet
from workers.suspects.serve import Responder, serve

DEEDS = {
    b"abort": os.abort,
    b"exit": lambda: os._exit(3),
    b"loop": lambda: [None for _ in iter(int, 1)],
    b"loop holding the GIL": lambda: ctypes.PyDLL(None).sleep(600),
    b"kill the parent": lambda: os.kill(os.getppid(), signal.SIGKILL),
    b"leave a child": lambda: (subprocess.Popen(["sleep", "600"], close_fds=False), os._exit(4)),
}


def begin(first: Packet) -> tuple[Packet, Responder]:
    """``first`` may say to die before there is anything to run."""
    if first.header.get("die"):
        os.abort()
    seen = 0

    def answer(payload: bytes) -> Packet:
        nonlocal seen
        seen += 1
        DEEDS.get(payload, lambda: None)()
        header = {"pid": os.getpid(), "seen": seen}
        return Packet(header if payload != b"nonsense" else {}, payload[::-1])

    return Packet({"pid": os.getpid(), "oom": _oom_score()}), answer


def _oom_score() -> str:
    path = Path("/proc/self/oom_score_adj")
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    sys.exit(serve(begin))
