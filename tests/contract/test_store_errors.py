"""What every store says when it refuses, is down, or is too slow, held against real servers."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import HeadraceError
from shared.settings import S3Settings
from shared.storage import (
    AccessDenied,
    BucketMissing,
    ObjectMissing,
    Store,
    StoreUnavailable,
    connect_store,
    pace,
)
from tests.support.injection.http_proxy import HttpProxy
from tests.support.injection.proxy import Fate

OPERATIONS: dict[str, Callable[[Store, str], object]] = {
    "get": lambda store, bucket: store.get(bucket, "a"),
    "get odd": lambda store, bucket: store.get(bucket, "a\n"),
    "head": lambda store, bucket: store.head(bucket, "a"),
    "head odd": lambda store, bucket: store.head(bucket, "a\n"),
    "put": lambda store, bucket: store.put(bucket, "a", b"x"),
    "put odd": lambda store, bucket: store.put(bucket, "a\n", b"x"),
    "create": lambda store, bucket: store.create(bucket, "a", b"x"),
    "put_file": lambda store, bucket: store.put_file(bucket, "a", Path(__file__)),
    "list": lambda store, bucket: list(store.list(bucket)),
    "list_level": lambda store, bucket: store.list_level(bucket, "a/"),
    "list_folders": lambda store, bucket: list(store.list_folders(bucket, "a/")),
    "delete": lambda store, bucket: store.delete(bucket, "a"),
    "delete odd": lambda store, bucket: store.delete(bucket, "a\n"),
    "delete_many": lambda store, bucket: store.delete_many(bucket, ["a", "a\n"]),
}
EXISTS: dict[str, Callable[[Store, str], object]] = {
    "exists": lambda store, bucket: store.exists(bucket, "a"),
    "bucket_exists": lambda store, bucket: store.bucket_exists(bucket),
}


def assert_says(error: HeadraceError, *parts: str) -> None:
    assert error.hint or isinstance(error, ObjectMissing)
    assert "\n" not in str(error)
    for part in parts:
        assert part in str(error)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_missing_bucket_is_called_that(store: Store, s3: S3Settings, operation: str) -> None:
    with pytest.raises(BucketMissing) as caught:
        OPERATIONS[operation](store, "contract-nowhere")
    assert_says(caught.value, "contract-nowhere", s3.endpoint)
    assert not store.exists("contract-nowhere", "a")


def test_a_missing_object_is_called_that(store: Store, s3: S3Settings, bucket: str) -> None:
    for key, shown in (("nothing here", "nothing here"), ("line\nbreak", "line\\nbreak")):
        with pytest.raises(ObjectMissing) as caught:
            store.get(bucket, key)
        assert_says(caught.value, f"s3://{bucket}/{shown}", s3.endpoint)
        with pytest.raises(ObjectMissing):
            store.head(bucket, key)


@pytest.mark.parametrize("field", ["access_key", "secret_key"])
@pytest.mark.parametrize("operation", [*OPERATIONS, *EXISTS])
def test_wrong_credentials_are_denied(
    s3: S3Settings, bucket: str, operation: str, field: str
) -> None:
    stranger = connect_store(s3.model_copy(update={field: "wrong"}))
    with pytest.raises(AccessDenied) as caught:
        (OPERATIONS | EXISTS)[operation](stranger, bucket)
    assert_says(caught.value, f"s3://{bucket}", s3.endpoint, "credentials")


@pytest.mark.parametrize("operation", [*OPERATIONS, *EXISTS])
def test_a_store_that_is_down_is_told_within_5_seconds(s3: S3Settings, operation: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        endpoint = f"127.0.0.1:{unused.getsockname()[1]}"
        nobody = connect_store(s3.model_copy(update={"endpoint": endpoint}))
        started = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            (OPERATIONS | EXISTS)[operation](nobody, "contract-down")
        assert time.monotonic() - started < 5
    assert_says(caught.value, endpoint, "refused")


SLOW_READS: dict[str, Callable[[Store, str], object]] = {
    "get": lambda store, bucket: store.get(bucket, "key"),
    "get an odd key": lambda store, bucket: store.get(bucket, "odd\nkey"),
    "list": lambda store, bucket: list(store.list(bucket)),
}


@pytest.mark.parametrize("operation", SLOW_READS)
def test_a_body_that_comes_at_a_byte_a_second_is_given_up(
    store: Store, s3: S3Settings, bucket: str, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("key", "odd\nkey"):
        store.put(bucket, key, b"x" * 1000)
    monkeypatch.setattr(pace, "WINDOW_SECONDS", 1.5)
    host, _, port = s3.endpoint.rpartition(":")
    with HttpProxy(int(port), random.Random(0)) as proxy:
        near = connect_store(s3.model_copy(update={"endpoint": f"{host}:{proxy.port}"}))
        SLOW_READS[operation](near, bucket)
        proxy.rates = {Fate.SLOW: 1.0}
        with pytest.raises(StoreUnavailable) as caught:
            SLOW_READS[operation](near, bucket)
    assert_says(caught.value, "timed out")
