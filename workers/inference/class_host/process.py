"""The worker's side of one host: started, asked, waited for until a deadline, ended."""

from __future__ import annotations

import errno
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path

from shared.threads import guarded
from workers.inference.errors import HostDied
from workers.suspects.child import manner_of
from workers.suspects.packet import Packet, packed, receive

HOST = Path(__file__).with_name("host.py")
# Of what a class prints during one batch, so much is kept.
MAX_PRINTED_BYTES = 64 * 1024
# What the keeper may take to end all that the class has started, before it is killed itself.
END_SECONDS = 12.0
# As ``serving.py`` ends without its socket.
CHANNEL_LOST = 65
# Between the end of the class and the keeper's word on it.
WORD_SECONDS = 2.0
_READ_BYTES = 2**20
_MAX_POLL_SECONDS = 3600.0
_MANNERS = {CHANNEL_LOST: "it closed its connection to the worker"}


class HostProcess:
    """A host. One thread sends and another receives; either may end it, once both are done.

    ``folder`` has the class's code in ``code``, and is removed with the host. Raises OSError where
    no process can be started.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        with ExitStack() as theirs, ExitStack() as ours:
            self._control, control = socket.socketpair()
            ours.enter_context(self._control)
            theirs.enter_context(control)
            self._lifeline, lifeline = socket.socketpair()
            ours.enter_context(self._lifeline)
            theirs.enter_context(lifeline)
            self._prints, prints = os.pipe()
            ours.callback(os.close, self._prints)
            theirs.callback(os.close, prints)
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
            self._open = ours.pop_all()
        self._control.setblocking(False)
        self._lifeline.setblocking(False)
        os.set_blocking(self._prints, False)
        self._has_ended = False
        self._words = b""
        self._printed = bytearray()
        self._dropped_bytes = 0

    def send(self, header: dict[str, object], descriptor: int | None = None) -> None:
        """Ask. ``receive`` says where the host has ended."""
        data = packed(Packet(header))
        try:
            if descriptor is None:
                self._control.sendall(data)
            else:  # far smaller than a socket's buffer, so it goes at once
                socket.send_fds(self._control, [data], [descriptor])
        except OSError:
            pass

    def receive(self, seconds: float) -> Packet:
        """The next answer. Raises HostDied, after ``seconds`` at the latest.

        The host is of no use after that. OSError: it never began.
        """
        deadline = time.monotonic() + seconds
        try:
            frame = receive(lambda size: self._read(size, deadline))
        except TimeoutError:
            raise HostDied(f"it took longer than {seconds:g} s") from None
        except (OSError, EOFError):
            raise HostDied(self._manner()) from None
        except (ValueError, RecursionError, MemoryError) as error:
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

    def class_pid(self) -> int | None:
        """The process that the class is in, where the keeper says so in time."""
        self._hears("pid", WORD_SECONDS)
        return self._said().get("pid")

    def end(self) -> None:
        """End the class and all that it started; returns when they are gone. May be repeated."""
        if self._has_ended:
            return
        self._has_ended = True
        self._control.close()
        try:
            self._lifeline.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        if not self._hears("gone", END_SECONDS):  # the class has stopped or killed its keeper
            self._process.kill()
            self._kill_group()
        self._read_prints()
        self._prints = -1
        self._open.close()
        # Removing the folder may take the keeper longer than anybody should wait for.
        guarded("host-leaving", self._leave, ended=lambda: True).start()

    def _leave(self) -> None:
        self._process.wait()
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
            elif self._lifeline in ready and (not self._read_words() or "ended" in self._said()):
                raise EOFError  # a process that the class forked may keep the other socket open
        return bytes(data)

    def _wait(self, deadline: float) -> Collection[object]:
        """What can be read; prints are read at once. Raises TimeoutError."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        ready = _readable(left, self._control, self._lifeline, self._prints)
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
        """Read what the keeper says. False where it has hung up."""
        while True:
            try:
                data = self._lifeline.recv(4096)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            self._words += data

    def _said(self) -> dict[str, int | None]:
        """The process that the class is in, and with which code it ended, as far as is known."""
        lines = self._words.split(b"\n")[:-1]
        return {key: value for line in lines for key, value in json.loads(line).items()}

    def _hears(self, word: str, seconds: float) -> bool:
        """Wait for the keeper to say a word; False where it does not."""
        deadline = time.monotonic() + seconds
        while word not in self._said():
            left = deadline - time.monotonic()
            if left <= 0 or (_readable(left, self._lifeline) and not self._read_words()):
                break
        return word in self._said()

    def _manner(self) -> str:
        """How the class ended. Raises OSError where it never began."""
        if self._hears("ended", WORD_SECONDS):
            code = self._said()["ended"]
            if code is not None:
                return _MANNERS.get(code) or manner_of(code)
        if "pid" not in self._said() and self._has_left():
            raise OSError(errno.EAGAIN, "its process did not start")
        if self._has_left():
            return "it killed the process that looks after it"
        return _MANNERS[CHANNEL_LOST]

    def _has_left(self) -> bool:
        """Has the keeper hung up?"""
        return not self._read_words()

    def _kill_group(self) -> None:
        group = self._said().get("pid")
        try:
            os.killpg(group or self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _readable(seconds: float, *watched: socket.socket | int) -> Collection[object]:
    """Those of ``watched`` that can be read, or have been hung up, within so many seconds.

    By poll: select takes no descriptor over 1,023, and no infinity.
    """
    poll, by_descriptor = select.poll(), {}
    for each in watched:
        descriptor = each if isinstance(each, int) else each.fileno()
        by_descriptor[descriptor] = each
        poll.register(descriptor, select.POLLIN)
    ready = poll.poll(min(seconds, _MAX_POLL_SECONDS) * 1000)
    return [by_descriptor[descriptor] for descriptor, _ in ready]
