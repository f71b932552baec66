"""The child's side: what ``python -m workers.ROLE.suspect_child PARENT`` calls."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from workers.suspects.frame import Frame, packed, receive

Answer = Callable[[bytes], Frame]
# From the first frame: what to say when ready, and what answers each payload.
Begin = Callable[[Frame], tuple[Frame, Answer]]

_PR_SET_PDEATHSIG = 1


def serve(begin: Begin) -> int:
    """Answer the parent until it hangs up. Returns the exit code."""
    faulthandler.enable()  # where it crashed is worth a line in the log
    _be_disposable(int(sys.argv[1]))
    channel = _Channel(socket.socket(fileno=sys.stdin.fileno()))
    ready, answer = begin(receive(channel.read))
    channel.send(ready)
    while True:
        try:
            payload = receive(channel.read).payload
        except EOFError:
            return 0
        channel.send(answer(payload))


class _Channel:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def read(self, size: int) -> bytes:
        chunks = bytearray()
        while len(chunks) < size:
            received = self._connection.recv(min(size - len(chunks), 2**20))
            if not received:
                raise EOFError
            chunks += received
        return bytes(chunks)

    def send(self, frame: Frame) -> None:
        self._connection.sendall(packed(frame))


def _be_disposable(parent: int) -> None:
    """First to go when memory is short, gone with its parent, and no core file to show for it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return
    Path("/proc/self/oom_score_adj").write_text("1000")
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the signal was asked for
        os._exit(1)
