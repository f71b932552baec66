"""A RabbitMQ of a test's own: its own home and port mapper, and nothing beyond loopback."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import signal
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from shared.broker.rabbitmq import RabbitQueues
from shared.errors import TransientError
from tests.support.servers import HOST, Popen, end, free_ports, spawn, wait_ready
from tests.support.tls import Authority

READY_SECONDS = 90.0
# Debian's own command wants to be root and to become another user; this is what it runs.
PROGRAMS = Path("/usr/lib/rabbitmq/bin")
PROGRAM = PROGRAMS / "rabbitmq-server"
CONFIG = """
listeners.tcp.local = {host}:{port}
default_user = tests
default_pass = {password}
max_message_size = 16777216
disk_free_limit.absolute = 50MB
log.console = true
log.file = false
raft.wal_max_size_bytes = 33554432
"""
TLS_CONFIG = """
listeners.ssl.local = {host}:{port}
ssl_options.cacertfile = {ca_file}
ssl_options.certfile = {certificate}
ssl_options.keyfile = {key}
ssl_options.verify = verify_none
"""


class RabbitServer:
    """One RabbitMQ, which may be killed, started and wiped. ``url`` stays the same.

    With an authority it is spoken to encrypted as well, at ``tls_port``.
    """

    def __init__(self, directory: Path, authority: Authority | None = None) -> None:
        self._directory = directory
        directory.mkdir(parents=True)
        self.port, self.tls_port, self._distribution, self._mapper = free_ports(4)
        password = secrets.token_hex(16)
        self.url = f"amqp://tests:{password}@{HOST}:{self.port}/"
        self._processes: list[Popen] = []
        values = {"host": HOST, "port": self.port, "password": password}
        config = CONFIG.format(**values)
        if authority is not None:
            certificate, key = authority.issue()
            files = {"certificate": certificate, "key": key, "ca_file": authority.ca_file}
            config += TLS_CONFIG.format(host=HOST, port=self.tls_port, **files)
        (directory / "rabbitmq.conf").write_text(config)
        (directory / "rabbitmq.conf").chmod(0o600)
        (directory / "enabled_plugins").write_text("[].\n")
        (directory / "rabbitmq-env.conf").touch()
        mapper = ["epmd", "-address", HOST, "-port", str(self._mapper)]
        self._epmd = spawn(mapper, directory / "epmd.log", os.environ)

    def start(self) -> None:
        """Return when it takes our password."""
        process = spawn([str(PROGRAM)], self.log, {**os.environ, **self._environment()})
        self._processes.append(process)
        wait_ready(process, self.log, self._answers, READY_SECONDS)

    @property
    def log(self) -> Path:
        """What it says since it was started last."""
        return self._directory / "rabbitmq.log"

    def type(self, command: str, answer: str = "") -> None:
        """Type a command of its administrator, such as ``rabbitmqctl …``, and what it asks for."""
        program, *arguments = shlex.split(command)
        subprocess.run(
            [PROGRAMS / program, *arguments],
            env={**os.environ, **self._environment()},
            input=answer,
            text=True,
            check=True,
            capture_output=True,
        )

    def _environment(self) -> dict[str, str]:
        here = str(self._directory)
        return {
            "HOME": here,  # where Erlang keeps its cookie
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self._mapper),
            "RABBITMQ_NODENAME": f"tests-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONF_ENV_FILE": f"{here}/rabbitmq-env.conf",
            "RABBITMQ_CONFIG_FILE": f"{here}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{here}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{here}/data",
            "RABBITMQ_LOG_BASE": f"{here}/log",
            "RABBITMQ_PID_FILE": f"{here}/pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}"
            ),
        }

    def _answers(self) -> bool:
        try:
            with closing(RabbitQueues(self.url, None)) as queues:
                return bool(queues.server())
        except TransientError:
            return False

    def kill(self, by: signal.Signals = signal.SIGKILL) -> None:
        """End it with all that it started; by SIGTERM in good order."""
        process = self._processes.pop()
        os.killpg(process.pid, by)
        process.wait()

    def wipe(self) -> None:
        """Forget everything; it must not run."""
        shutil.rmtree(self._directory / "data")

    def stop(self) -> None:
        """End it for good. Stopping twice is fine."""
        while self._processes:
            self.kill()
        end(self._epmd)


def start_rabbitmq(directory: Path, authority: Authority | None = None) -> RabbitServer:
    """Start RabbitMQ with all that it writes in ``directory``. Skips where it is not installed."""
    if not PROGRAM.exists():
        pytest.skip(f"no {PROGRAM}: install RabbitMQ (Debian: rabbitmq-server)")
    server = RabbitServer(directory, authority)
    try:
        server.start()
    except BaseException:
        server.stop()
        raise
    return server
