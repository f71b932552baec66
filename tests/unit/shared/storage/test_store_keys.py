"""Keys of stores: where they are read, and that they are read again in time."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from minio.credentials import Credentials

from shared.settings import S3Settings
from shared.storage import CredentialsExpired
from shared.storage.credentials import (
    EnvironmentCredentials,
    FileCredentials,
    InstanceCredentials,
    RenewedKeys,
    UsualCredentials,
)
from shared.storage.s3 import S3ObjectStore

PROFILES = """
[default]
aws_access_key_id = from-file
aws_secret_access_key = s%s
[other]
aws_access_key_id = other
aws_secret_access_key = secret
aws_session_token = token
"""
NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The credentials file, and none of the shell's own variables."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "credentials"
    path.write_text(PROFILES)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    return path


def test_the_environment_comes_first_then_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert UsualCredentials().read() == Credentials("from-file", "s%s")
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert UsualCredentials().read() == Credentials("other", "secret", "token")
    for name in NAMES:
        monkeypatch.setenv(name, name.lower())
    expected = Credentials("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    assert UsualCredentials().read() == expected


def test_keys_of_other_names_do_not_take_the_shells_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, "LAB_KEY", "LAB_SECRET", "LAB_TOKEN"):
        monkeypatch.setenv(name, name.lower())
    lab = EnvironmentCredentials(access_key="LAB_KEY", secret_key="LAB_SECRET")
    assert lab.read() == Credentials("lab_key", "lab_secret")
    with_token = lab.model_copy(update={"session_token": "LAB_TOKEN"})
    assert with_token.read() == Credentials("lab_key", "lab_secret", "lab_token")


def test_a_file_may_be_named_with_its_profile(tmp_path: Path) -> None:
    named = tmp_path / "named"
    named.write_text("[a]\naws_access_key_id=k\naws_secret_access_key=s\n")
    assert FileCredentials(path=named, profile="a").read() == Credentials("k", "s")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def keys_of(*readings: Credentials | Exception) -> tuple[RenewedKeys, Clock, list[object]]:
    left, clock = list(readings), Clock()

    def read() -> Credentials:
        reading = left.pop(0)
        if isinstance(reading, Exception):
            raise reading
        return reading

    return RenewedKeys(read, clock), clock, left  # type: ignore[return-value]


def ending_in(seconds: float, name: str = "session") -> Credentials:
    return Credentials(name, "secret", "token", datetime.now(UTC) + timedelta(seconds=seconds))


def test_keys_without_an_end_are_read_once_a_minute() -> None:
    old, new = Credentials("old", "s"), Credentials("new", "s")
    keys, clock, left = keys_of(old, new)
    assert [keys.retrieve() for _ in range(9)] == [old] * 9
    clock.now += 61
    assert keys.retrieve() == new
    assert not left


def test_keys_that_end_within_a_minute_are_read_again_but_not_in_a_storm() -> None:
    first, short, long = ending_in(3600, "a"), ending_in(30, "b"), ending_in(3600, "c")
    keys, clock, left = keys_of(first)
    keys.retrieve()
    clock.now += 1000  # they have no need to be read before they end
    assert keys.retrieve() == first
    keys, clock, left = keys_of(short, long)
    assert [keys.retrieve() for _ in range(9)] == [short] * 9
    clock.now += 2
    assert keys.retrieve() == long
    assert not left


def test_keys_in_hand_serve_on_while_they_cannot_be_read_until_they_end() -> None:
    short = ending_in(30)
    keys, clock, _ = keys_of(short, OSError("away"))
    keys.retrieve()
    clock.now += 2
    assert keys.retrieve() == short
    keys, clock, _ = keys_of(ending_in(-30), OSError("away"))
    keys.retrieve()
    clock.now += 2
    with pytest.raises(OSError, match="away"):
        keys.retrieve()


def test_refused_keys_are_read_again_at_once_and_once_for_all_threads() -> None:
    old, new = Credentials("old", "s"), Credentials("new", "s")
    keys, clock, left = keys_of(old, old, new)
    keys.retrieve()
    clock.now += 2
    assert not keys.renewed_since(old)  # nobody has renewed them yet
    assert not keys.renewed_since(old)
    assert len(left) == 1
    clock.now += 2
    assert keys.renewed_since(old)
    assert keys.renewed_since(old)
    assert keys.retrieve() == new


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What gives a container its keys, each time others; the list has the names it gave."""
    given: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given.append(f"key-{len(given)}")
            end = (datetime.now(UTC) + timedelta(seconds=3600)).strftime("%Y-%m-%dT%H:%M:%SZ")
            answer = {"AccessKeyId": given[-1], "SecretAccessKey": "s", "Token": "t"}
            body = json.dumps({**answer, "Expiration": end}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/keys"
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        yield given
        server.shutdown()
        thread.join()


def test_a_container_has_its_keys_from_beside_it(metadata: list[str], file: Path) -> None:
    file.unlink()
    keys = UsualCredentials().read()
    assert (keys.access_key, keys.session_token) == ("key-0", "t")
    assert keys.expiration is not None
    assert InstanceCredentials().read().access_key == "key-1"


def test_where_there_are_no_keys_any_more_the_store_is_waited_for() -> None:
    keys, clock, _ = keys_of(ending_in(-30), *[OSError("no file")] * 9)
    s3 = S3Settings(endpoint="127.0.0.1:9", access_key="k", secret_key="s")
    keys.retrieve()
    clock.now += 2
    with pytest.raises(CredentialsExpired, match="no file"):
        S3ObjectStore(s3, keys).get("bucket", "key")
