"""A store behind HTTPS with an authority of one's own, asked through both libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.errors import UsageError
from shared.settings import S3Settings
from shared.storage import Store, StoreUnavailable, connect_store
from tests.support.tls import Authority, TlsFront

OPERATIONS: dict[str, Callable[[Store, str], object]] = {
    "get": lambda store, bucket: store.get(bucket, "a"),
    "get odd": lambda store, bucket: store.get(bucket, "a\n"),
    "create": lambda store, bucket: store.create(bucket, "b", b"x"),
    "list": lambda store, bucket: list(store.list(bucket)),
}


@pytest.fixture(scope="module")
def https(s3: S3Settings, authority: Authority) -> Iterator[S3Settings]:
    """The store behind HTTPS; nobody is trusted yet."""
    with TlsFront(int(s3.endpoint.rpartition(":")[2]), authority.certify()) as front:
        endpoint = f"127.0.0.1:{front.port}"
        yield s3.model_copy(update={"endpoint": endpoint, "secure": True})


def test_everything_goes_encrypted(https: S3Settings, authority: Authority, bucket: str) -> None:
    store = connect_store(https.model_copy(update={"ca_file": authority.ca_file}))
    for key in ("a", "odd\nkey"):
        store.put(bucket, key, b"x" * 100_000)
        assert store.get(bucket, key) == b"x" * 100_000
    assert store.create(bucket, "b", b"x")
    assert not store.create(bucket, "b", b"x")
    assert {info.key for info in store.list(bucket)} == {"a", "b", "odd\nkey"}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_who_is_certified_by_another_is_not_trusted(
    https: S3Settings, stranger: Authority, bucket: str, operation: str
) -> None:
    for trusted in (None, stranger.ca_file):
        store = connect_store(https.model_copy(update={"ca_file": trusted}))
        with pytest.raises(StoreUnavailable, match="its certificate is not trusted") as caught:
            OPERATIONS[operation](store, bucket)
        assert https.endpoint in str(caught.value)
        assert "\n" not in str(caught.value)


def test_who_is_certified_under_another_name_is_not_trusted(
    s3: S3Settings, authority: Authority, bucket: str
) -> None:
    other = authority.certify("subjectAltName=DNS:other.example")
    with TlsFront(int(s3.endpoint.rpartition(":")[2]), other) as front:
        changes = {"endpoint": f"127.0.0.1:{front.port}", "ca_file": authority.ca_file}
        store = connect_store(s3.model_copy(update={**changes, "secure": True}))
        for operation in ("get", "get odd"):
            with pytest.raises(StoreUnavailable, match="its certificate is not trusted"):
                OPERATIONS[operation](store, bucket)


def test_a_file_without_certificates_is_named(https: S3Settings, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate")
    for file in (empty, tmp_path / "nowhere.pem"):
        with pytest.raises(UsageError, match=file.name) as caught:
            connect_store(https.model_copy(update={"ca_file": file}))
        assert "\n" not in str(caught.value)
