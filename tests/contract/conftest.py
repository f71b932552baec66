"""A real server, started once; a test gets an empty bucket of its own.

``$TEST_STORE`` names one of SERVERS, by default SeaweedFS.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from shared.settings import S3Settings
from shared.storage import Store, connect_store
from tests.support.minio_server import start_minio
from tests.support.servers import start_seaweedfs


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

STORE = os.environ.get("TEST_STORE", "seaweedfs")
# SeaweedFS gives sessions only to roles of an identity provider.
collect_ignore = [] if STORE == "minio" else ["test_sessions.py"]


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Settings]:
    server = SERVERS[STORE](tmp_path_factory.mktemp("server"))
    yield S3Settings(
        endpoint=server.endpoint, access_key=server.access_key, secret_key=server.secret_key
    )
    server.stop()


@pytest.fixture(scope="session")
def store(s3: S3Settings) -> Store:
    return connect_store(s3)


@pytest.fixture(scope="session")
def lists_below_objects() -> bool:
    """Does a listing show what lies below a key that is itself an object's? Not in MinIO."""
    return STORE != "minio"


@pytest.fixture
def bucket(store: Store) -> str:
    name = f"contract-{secrets.token_hex(6)}"
    store.make_bucket(name)
    return name
