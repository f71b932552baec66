"""A real server, started once; a test gets an empty bucket of its own.

``$TEST_STORE`` names one of SERVERS, which is SeaweedFS unless told.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from shared.settings import S3Settings
from shared.storage import Store, connect
from tests.minio_server import start_minio
from tests.servers import start_seaweedfs


class RunningServer(Protocol):
    """What the contract needs to know of a server."""

    @property
    def endpoint(self) -> str: ...
    @property
    def access_key(self) -> str: ...
    @property
    def secret_key(self) -> str: ...
    def stop(self) -> None: ...


# One line per server that the contract must hold for.
SERVERS: dict[str, Callable[[Path], RunningServer]] = {
    "seaweedfs": start_seaweedfs,
    "minio": start_minio,
}


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Settings]:
    start = SERVERS[os.environ.get("TEST_STORE", "seaweedfs")]
    server = start(tmp_path_factory.mktemp("server"))
    yield S3Settings(
        endpoint=server.endpoint, access_key=server.access_key, secret_key=server.secret_key
    )
    server.stop()


@pytest.fixture(scope="session")
def store(s3: S3Settings) -> Store:
    return connect(s3)


@pytest.fixture
def bucket(store: Store) -> str:
    name = f"contract-{secrets.token_hex(6)}"
    store.make_bucket(name)
    return name
