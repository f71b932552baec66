"""A Content-Encoding is told, and the stored bytes come as they are, however they are fetched."""

from __future__ import annotations

import gzip
from io import BytesIO

import pytest

from shared.settings import S3Settings
from shared.storage import Store
from shared.storage.clients import admin_client
from shared.storage.credentials import static_keys

PACKED = gzip.compress(b"hello " * 1000)


@pytest.mark.parametrize("key", ["plain.jpg", "tab\there.jpg"])  # obstore's path, and minio's
@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "identity"])
def test_stored_bytes_come_with_their_encoding(
    s3: S3Settings, store: Store, bucket: str, key: str, encoding: str
) -> None:
    admin_client(s3, static_keys(s3)).put_object(
        bucket, key, BytesIO(PACKED), len(PACKED), metadata={"Content-Encoding": encoding}
    )
    (listed,) = store.list(bucket)
    assert listed.size == len(PACKED)
    info, data = store.get_object(bucket, key, max_bytes=listed.size, etag=listed.etag)
    assert data == PACKED
    assert info.encoding == encoding
    assert b"".join(store.pieces(bucket, key, max_bytes=listed.size)) == PACKED


def test_most_objects_have_none(store: Store, bucket: str) -> None:
    for key in ("plain.jpg", "tab\there.jpg"):
        store.put(bucket, key, b"bytes")
        assert store.get_object(bucket, key)[0].encoding == ""
