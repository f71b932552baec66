"""The worker's side of one child: asked, waited for until a deadline, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from shared.errors import TransientError
from workers.suspects.packet import Packet, packed, receive

_LOOK_SECONDS = 0.1
_STDERR = 2


class ChildDied(Exception):
    """The child is no more, or is not to be waited for. Its text says how that came."""


class Child:
    """A process of ``python -m MODULE``, which serves one question at a time. One thread's own."""

    def __init__(self, module: str, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(_LOOK_SECONDS)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=_STDERR,
                process_group=0,  # ended with all that it started
            )

    def ask(self, question: Packet, seconds: float) -> Packet:
        """The answer. Raises ChildDied, after ``seconds`` at the latest, or TransientError.

        TransientError: the worker stops. The child is of no use after either.
        """
        started = time.monotonic()

        def look() -> None:
            if self._stopping.is_set():
                raise TransientError("stopping", "The worker is stopping.")
            if time.monotonic() - started > seconds:
                raise ChildDied(f"it took longer than {seconds:g} s")

        try:
            self._send(packed(question), look)
            return receive(lambda size: self._read(size, look))
        except (OSError, EOFError) as error:
            raise ChildDied(self._manner()) from error
        except ValueError as error:
            raise ChildDied(f"it answered nonsense: {error}") from error

    def end(self) -> None:
        """Kill it, and whatever it started."""
        self._socket.close()
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()

    def _send(self, data: bytes, look: Callable[[], None]) -> None:
        rest = memoryview(data)
        while rest:
            look()
            try:
                rest = rest[self._socket.send(rest) :]
            except TimeoutError:
                self._raise_if_dead()

    def _read(self, size: int, look: Callable[[], None]) -> bytes:
        data = bytearray()
        while len(data) < size:
            look()
            try:
                received = self._socket.recv(min(size - len(data), 2**20))
            except TimeoutError:
                self._raise_if_dead()
                continue
            if not received:
                raise EOFError
            data += received
        return bytes(data)

    def _raise_if_dead(self) -> None:
        """Its own children may keep the socket open after its death."""
        if self._process.poll() is not None:
            raise EOFError

    def _manner(self) -> str:
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "it hung up"
        return manner_of(code)


def manner_of(exit_code: int) -> str:
    """How a process ended, in words; ``exit_code`` is negative after a signal."""
    if exit_code >= 0:
        return f"exit status {exit_code}"
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"
