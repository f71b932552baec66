"""supervisord: its configuration, its start, and its answers over XML-RPC on a Unix socket."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from producer.stack.home import Home, write_private
from producer.stack.local.open_files import OPEN_FILES
from producer.stack.programs import Program
from shared.environment import settled
from shared.errors import HeadraceError

CONFIG = "run/supervisord.conf"
PID_FILE = "run/supervisord.pid"
SOCKET = "supervisor.sock"
NAME = "supervisord"
ANSWER_SECONDS = 20
REAP_SECONDS = 0.1

_HEAD = """\
[unix_http_server]
file={socket}
chmod=0600

[supervisord]
logfile=logs/supervisord.log
logfile_maxbytes=5MB
logfile_backups=1
pidfile={pid_file}
minfds={files}
nocleanup=true
umask=077

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
# startsecs=0: whatever ends is started again at once, however often. Only the process itself is
# told to stop, for it looks after its children; what is killed is killed with them.
_PROGRAM = """
[program:{name}]
command={command}
environment={environment}
autostart=false
autorestart=true
startsecs=0
stopwaitsecs={stop_seconds}
stopasgroup=false
killasgroup=true
redirect_stderr=true
stdout_logfile=logs/{name}.log
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=2
"""


def quoted(word: str) -> str:
    """One word of a command line as supervisord reads it back: ``%``, comments, then quotes."""
    one_by_one = re.sub(
        r"[^\w./=:,%-]", lambda odd: '"\'"' if odd[0] == "'" else f"'{odd[0]}'", word
    )
    return one_by_one.replace("%", "%%")


def config_text(sockets: Path, processes: Sequence[tuple[str, Program]]) -> str:
    """The whole configuration, one program a process. All paths are relative to the home."""
    parts = [_HEAD.format(socket=sockets / SOCKET, pid_file=PID_FILE, files=OPEN_FILES)]
    for name, program in processes:
        environment = {**program.environment, "HEADRACE_PROCESS": name}
        parts.append(
            _PROGRAM.format(
                name=name,
                command=" ".join(map(quoted, program.command)),
                environment=",".join(f'{key}="{value}"' for key, value in environment.items()),
                stop_seconds=program.stop_seconds,
            )
        )
    return "".join(parts)


def write_config(home: Home, sockets: Path, processes: Sequence[tuple[str, Program]]) -> None:
    """Write the configuration, which holds secrets."""
    write_private(home.root / CONFIG, config_text(sockets, processes))


def start(home: Home) -> None:
    """Start supervisord in the home, in a session of its own. Raises HeadraceError."""
    environment = {
        **settled(os.environ),
        "HEADRACE_HOME": str(home.root),
        "HEADRACE_PROCESS": NAME,
    }
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", CONFIG]
    outcome = subprocess.run(
        command,
        cwd=home.root,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    if outcome.returncode:
        last_line = (outcome.stdout + outcome.stderr).strip().rpartition("\n")[2]
        raise HeadraceError(
            "supervisor_failed",
            f"The supervisor did not start: {last_line}",
            f"See {home.logs / 'supervisord.log'}.",
        )


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:  # noqa: ARG002
        return _Connection(self._path)


class Supervisor:
    """The supervisord of one stack, whether it runs or not."""

    def __init__(self, sockets: Path) -> None:
        self._path = sockets / SOCKET

    def call(self, method: str, *arguments: Any) -> Any:
        """One call. Raises OSError where no supervisor answers, xmlrpc.client.Fault if refused."""
        with xmlrpc.client.ServerProxy("http://localhost", _Transport(self._path)) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def is_running(self) -> bool:
        """Whether it answers."""
        try:
            self.call("getPID")
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return False
        return True

    def info(self) -> list[dict[str, Any]]:
        """supervisord's own words about every process."""
        answer: list[dict[str, Any]] = self.call("getAllProcessInfo")
        return answer

    def pids(self) -> dict[str, int]:
        """Process id by name, of those that run."""
        return {process["name"]: process["pid"] for process in self.info() if process["pid"]}

    def start(self, name: str) -> None:
        """Start a process that does not run, without waiting for it.

        One that has just been stopped counts as started until its death is noticed.
        """
        deadline = time.monotonic() + ANSWER_SECONDS
        while self.call("getProcessInfo", name)["statename"] == "STOPPING":
            if time.monotonic() > deadline:
                break
            time.sleep(REAP_SECONDS)
        self._tolerate("ALREADY_STARTED", lambda: self.call("startProcess", name, False))

    def ask_to_stop(self, name: str) -> None:
        """Tell a process to stop, without waiting for it."""
        self._tolerate("NOT_RUNNING", lambda: self.call("stopProcess", name, False))

    def reload(self) -> tuple[list[str], list[str]]:
        """Read the configuration again. Returns the names to stop first, and those to add after."""
        (added, changed, removed), *_ = self.call("reloadConfig")
        return [*changed, *removed], [*changed, *added]

    def remove(self, name: str) -> None:
        """Forget a process that has stopped. The supervisor notices a death up to 1 s late."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                self.call("removeProcessGroup", name)
                return
            except xmlrpc.client.Fault as error:
                if "STILL_RUNNING" not in error.faultString or time.monotonic() > deadline:
                    raise
            time.sleep(REAP_SECONDS)

    def add(self, name: str) -> None:
        """Learn a process from the configuration read last."""
        self.call("addProcessGroup", name)

    @staticmethod
    def _tolerate(fault: str, action: Callable[[], Any]) -> None:
        try:
            action()
        except xmlrpc.client.Fault as error:
            if not error.faultString.startswith(fault):
                raise
