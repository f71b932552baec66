"""A real MinIO for tests, built from source where Go is: see ``tools/minio_server.py``."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.servers import (
    HOST,
    Popen,
    end,
    free_ports,
    s3_answers,
    spawn,
    wait_ready,
    with_attempts,
)
from tools.minio_server import NotBuilt, build


@dataclass(frozen=True, slots=True)
class RunningMinio:
    """One MinIO with one disk. ``endpoint`` is ``host:port``, plain HTTP."""

    endpoint: str
    access_key: str
    secret_key: str
    process: Popen

    def stop(self) -> None:
        """End the server and wait for it. Stopping twice is fine."""
        end(self.process)


def start_minio(directory: Path, host: str = HOST) -> RunningMinio:
    """Start MinIO at ``host`` with random keys, its data and its log in ``directory``.

    Skips where there is no MinIO and it cannot be built.
    """
    try:
        binary = build()
    except NotBuilt as error:
        pytest.skip(str(error))
    access_key, secret_key = secrets.token_hex(10), secrets.token_hex(20)
    (directory / "data").mkdir(parents=True, exist_ok=True)
    log = directory / "minio.log"
    environment = {
        **os.environ,
        "MINIO_ROOT_USER": access_key,
        "MINIO_ROOT_PASSWORD": secret_key,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        "GOMEMLIMIT": "384MiB",
    }

    def attempt() -> RunningMinio:
        (port,) = free_ports(1, host=host)
        endpoint = f"{host}:{port}"
        command = [str(binary), "server", f"--address={endpoint}", str(directory / "data")]
        command += [f"--certs-dir={directory / 'certs'}"]
        process = spawn(command, log, environment)
        wait_ready(process, log, lambda: s3_answers(endpoint, access_key, secret_key))
        return RunningMinio(endpoint, access_key, secret_key, process)

    return with_attempts(attempt)
