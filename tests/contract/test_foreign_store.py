"""Somebody else's store: it refuses by class and by load, and its keys come to their end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from minio.credentials import Credentials

from shared.errors import ItemErrorCode
from shared.item import Item, ItemFailure
from shared.settings import S3Settings
from shared.storage import (
    AccessDenied,
    CredentialsExpired,
    ObjectArchived,
    Store,
    StoreUnavailable,
)
from shared.storage.credentials import RenewedKeys
from shared.storage.s3 import S3ObjectStore
from tests.support.injection.strict_store import StrictStore
from workers.preprocess.fetch import Fetcher

OBJECTS = 200


@pytest.fixture
def strict(s3: S3Settings) -> Iterator[StrictStore]:
    with StrictStore(int(s3.endpoint.rpartition(":")[2])) as strict:
        yield strict


@pytest.fixture
def foreign(s3: S3Settings, strict: StrictStore) -> Store:
    """The store by way of ``strict``."""
    host = s3.endpoint.rpartition(":")[0]
    return S3ObjectStore(s3.model_copy(update={"endpoint": f"{host}:{strict.port}"}))


@pytest.fixture
def fetcher(foreign: Store) -> Fetcher:
    return Fetcher(lambda _: foreign, threading.Event())


def put(store: Store, bucket: str, *keys: str) -> list[Item]:
    for key in keys:
        store.put(bucket, key, key.encode())
    return [Item(key=i.key, etag=i.etag, size=i.size) for i in store.list(bucket)]


def test_what_lies_in_an_archive_fails_as_that(
    store: Store, foreign: Store, strict: StrictStore, fetcher: Fetcher, bucket: str
) -> None:
    strict.archived = (".frozen", "%0A")
    put(store, bucket, "a.jpg", "b.frozen", "odd\nkey.frozen")
    for key in ("b.frozen", "odd\nkey.frozen"):
        with pytest.raises(ObjectArchived, match=r"b\.frozen|odd\\nkey") as caught:
            foreign.get(bucket, key)
        assert "\n" not in str(caught.value)
        assert foreign.head(bucket, key).size == len(key)
    items = [Item(key=key, etag="", size=1) for key in ("a.jpg", "b.frozen")]
    data, failure = fetcher.fetch(bucket, items, max_bytes=100)
    assert data == b"a.jpg"
    assert isinstance(failure, ItemFailure)
    assert failure.error_code is ItemErrorCode.ARCHIVED


def test_a_store_that_asks_for_less_gets_less_and_gives_everything(
    store: Store, strict: StrictStore, fetcher: Fetcher, bucket: str
) -> None:
    items = put(store, bucket, *(f"{number:04d}" for number in range(OBJECTS)))
    strict.at_once = 1
    fetched = fetcher.fetch(bucket, items, max_bytes=100)
    assert fetched == [item.key.encode() for item in items]
    # Sixteen at a time, whatever it says, it would refuse each twice.
    assert 0 < strict.refused["SlowDown"] < OBJECTS


def test_long_lived_keys_may_be_changed_while_they_are_used(
    store: Store, s3: S3Settings, bucket: str
) -> None:
    store.put(bucket, "key", b"x")
    good = Credentials(s3.access_key, s3.secret_key)
    for old in (Credentials("unknown", "s"), Credentials(s3.access_key, "wrong")):
        held, clock = [old, good], Clock()
        foreign = S3ObjectStore(s3, RenewedKeys(lambda held=held: held.pop(0), clock))  # type: ignore[misc]
        with pytest.raises(AccessDenied):
            foreign.get(bucket, "key")
        assert held == [good]
        clock.now += 2
        with pytest.raises(CredentialsExpired, match="renewed"):
            foreign.get(bucket, "key")
        assert foreign.get(bucket, "key") == b"x"


class Clock:
    """Refused keys are read again when it has moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_listing_outlasts_a_busy_moment(
    store: Store, foreign: Store, strict: StrictStore, bucket: str
) -> None:
    put(store, bucket, "a")
    strict.at_once = 0
    with pytest.raises(StoreUnavailable, match="fewer requests"):
        list(foreign.list(bucket))
    strict.at_once = None
    assert [info.key for info in foreign.list(bucket)] == ["a"]
