"""The worker's side of one host: started, asked, waited for until a deadline, ended."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from workers.inference.errors import HostDied
from workers.suspects.child import manner_of
from workers.suspects.frame import Frame, packed, receive

HOST = Path(__file__).with_name("host.py")
# Of what a class prints during one batch, so much is kept.
MAX_PRINTED_BYTES = 64 * 1024
# What the keeper may take to end all that the class has started, before it is killed itself.
END_SECONDS = 12.0
# As ``serving.py`` ends without its socket.
CHANNEL_LOST = 65
# Between the end of the class and the keeper's word on it.
WORD_SECONDS = 12.0
_READ_BYTES = 2**20
_LONGEST_SELECT_SECONDS = 3600.0  # it takes no infinity
_MANNERS = {CHANNEL_LOST: "it closed its connection to the worker"}


class HostProcess:
    """A host. One thread sends and another receives; either may end it, once both are done.

    ``folder`` has the class's code in ``code``, and is removed with the host.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._control, control = socket.socketpair()
        self._lifeline, lifeline = socket.socketpair()
        self._prints, prints = os.pipe()
        with control, lifeline:
            try:
                self._process = subprocess.Popen(
                    [
                        *(sys.executable, "-I", "-u", "-X", "faulthandler", str(HOST)),
                        *(str(control.fileno()), str(lifeline.fileno()), str(folder)),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=prints,
                    stderr=prints,
                    pass_fds=(control.fileno(), lifeline.fileno()),
                    cwd=folder / "code",
                    env=dict(environment),
                    process_group=0,
                )
            finally:
                os.close(prints)
        self._control.setblocking(False)
        self._lifeline.setblocking(False)
        os.set_blocking(self._prints, False)
        self._words = b""
        self._printed = bytearray()
        self._dropped_bytes = 0

    def send(self, header: dict[str, object], descriptor: int | None = None) -> None:
        """Ask. That the host is no more is for ``receive`` to say."""
        data = packed(Frame(header))
        try:
            if descriptor is None:
                self._control.sendall(data)
            else:  # far smaller than a socket's buffer, so it goes at once
                socket.send_fds(self._control, [data], [descriptor])
        except OSError:
            pass

    def receive(self, seconds: float) -> Frame:
        """The next answer. Raises HostDied, after ``seconds`` at the latest.

        The host is of no use after that.
        """
        deadline = time.monotonic() + seconds
        try:
            frame = receive(lambda size: self._read(size, deadline))
        except TimeoutError:
            raise HostDied(f"it took longer than {seconds:g} s") from None
        except (OSError, EOFError):
            raise HostDied(self._manner()) from None
        except ValueError as error:
            raise HostDied(f"it answered nonsense: {error}") from error
        self._read_prints()
        return frame

    def take_prints(self) -> str:
        """What the class has printed since the last call, up to a bound."""
        self._read_prints()
        text = self._printed.decode(errors="replace")
        if self._dropped_bytes:
            text += f"\n... and {self._dropped_bytes} bytes more, which are dropped"
        self._printed.clear()
        self._dropped_bytes = 0
        return text

    def end(self) -> None:
        """End the class and all that it started; returns when they are gone. May be repeated."""
        if self._control.fileno() == -1:
            return
        self._control.close()
        try:
            self._lifeline.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:  # the class has stopped its keeper
            self._process.kill()
            self._process.wait()
        self._read_words()
        if "ended" not in self._said():
            self._kill_group()
        self._lifeline.close()
        self._read_prints()
        os.close(self._prints)
        self._prints = -1
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            ready = self._wait(deadline)
            if self._control in ready:
                received = self._control.recv(min(size - len(data), _READ_BYTES))
                if not received:
                    raise EOFError
                data += received
            elif self._lifeline in ready and not self._read_words():
                raise EOFError  # a process that the class forked may keep the other socket open
        return bytes(data)

    def _wait(self, deadline: float) -> Sequence[object]:
        """What can be read; prints are read at once. Raises TimeoutError."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        waited_for: list[socket.socket | int] = [self._control, self._lifeline, self._prints]
        ready, _, _ = select.select(waited_for, [], [], min(left, _LONGEST_SELECT_SECONDS))
        if self._prints in ready:
            self._read_prints()
        return ready

    def _read_prints(self) -> None:
        """At most what a pipe holds at once, so that a flood does not keep us here."""
        if self._prints == -1:
            return
        for _ in range(16):
            try:
                data = os.read(self._prints, 65536)
            except BlockingIOError:
                return
            if not data:
                return
            room = MAX_PRINTED_BYTES - len(self._printed)
            self._printed += data[:room]
            self._dropped_bytes += max(0, len(data) - room)

    def _read_words(self) -> bool:
        """Read what the keeper says. False where it has said its last."""
        while True:
            try:
                data = self._lifeline.recv(4096)
            except BlockingIOError:
                return "ended" not in self._said()
            except OSError:
                return False
            if not data:
                return False
            self._words += data

    def _said(self) -> dict[str, int | None]:
        """The process that the class is in, and with which code it ended, as far as is known."""
        lines = self._words.split(b"\n")[:-1]
        return {key: value for line in lines for key, value in json.loads(line).items()}

    def _manner(self) -> str:
        """How the class ended. Its keeper says so when it has ended all that is left."""
        deadline = time.monotonic() + WORD_SECONDS
        while self._read_words() and (left := deadline - time.monotonic()) > 0:
            select.select([self._lifeline], [], [], left)
        code = self._said().get("ended")
        return "its keeper was killed" if code is None else _MANNERS.get(code) or manner_of(code)

    def _kill_group(self) -> None:
        group = self._said().get("pid")
        try:
            os.killpg(group or self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
