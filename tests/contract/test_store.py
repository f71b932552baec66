"""What every store must do with objects, under odd keys above all, held against real servers."""

from __future__ import annotations

import hashlib
import os
import random
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.errors import UsageError
from shared.settings import S3Settings
from shared.storage import (
    ObjectChanged,
    ObjectInfo,
    ObjectMissing,
    ObjectTooLarge,
    Store,
    UnsupportedKey,
    connect_store,
)

ODD_KEYS = [
    "plain/a.jpg",
    "two words/a b.jpg",
    " leading and trailing ",
    unicodedata.normalize("NFC", "nfc/café.jpg"),
    unicodedata.normalize("NFD", "nfd/café.jpg"),
    "写真/猫.jpg",
    "emoji/\U0001f600.jpg",
    "right-to-left/\u202ex.jpg",
    "no-break\u00a0space/\u2028/\ufeffx.jpg",
    "hash#1.jpg",
    "what?.jpg",
    "what?x=1&y=2.jpg",
    "100%.jpg",
    "a%20b.jpg",
    "a%2Fb.jpg",
    "a%2520b.jpg",
    "%C3%A9.jpg",
    "%zz.jpg",
    "a+b.jpg",
    "line\nbreak.jpg",
    "line\rbreak\r\n.jpg",
    "tab\there.jpg",
    "bell\x07escape\x1bdelete\x7f.jpg",
    "not a character\ufffe.jpg",
    "a&b;c=d.jpg",
    '<tag attribute="\'">.jpg',
    "star*~[bracket]{brace}^`|:@!$,().jpg",
    "trailing dots...",
    ".../.hidden",
    "a/" * 511 + "bc",
    "/".join(["n" * 204] * 5),
    "/".join(f"level{depth}" for depth in range(60)),
    "mixed",
    "mixed/depth",
    "mixed/depth/x.jpg",
    "mixed.jpg",
]
CREATABLE_KEYS = [key for key in ODD_KEYS if key.isprintable() or "\u202e" in key]


def test_lists_and_fetches_every_odd_key_by_its_exact_name(
    store: Store, bucket: str, lists_below_objects: bool
) -> None:
    keys = [key for key in ODD_KEYS if lists_below_objects or not key.startswith("mixed/")]
    contents = {key: f"{number}:{key}".encode() for number, key in enumerate(keys)}
    assert max(len(key.encode()) for key in contents) == 1024
    for key, data in contents.items():
        store.put(bucket, key, data)

    listed = {info.key: info for info in store.list(bucket)}

    assert listed == {
        key: ObjectInfo(key, hashlib.md5(data).hexdigest(), len(data))
        for key, data in contents.items()
    }
    for key, info in listed.items():
        assert store.get_object(bucket, key, max_bytes=info.size, etag=info.etag) == (
            info,
            contents[key],
        )
        assert store.head(bucket, key) == info
        assert store.exists(bucket, key)
        assert [found.key for found in store.list(bucket, key) if found.key == key] == [key]


@pytest.mark.parametrize("key", ODD_KEYS, ids=ascii)
def test_overwrites_uploads_and_deletes_an_odd_key(
    store: Store, bucket: str, key: str, tmp_path: Path
) -> None:
    neighbours = ["neighbour", f"{key[:900]}.neighbour"]
    for name in neighbours:
        store.put(bucket, name, b"stays")
    path = tmp_path / "file"
    path.write_bytes(b"from a file")

    store.put(bucket, key, b"first")
    store.put(bucket, key, b"second")
    assert store.get(bucket, key) == b"second"
    store.put_file(bucket, key, path)
    assert store.get(bucket, key) == b"from a file"
    store.delete(bucket, key)
    store.delete(bucket, key)

    assert not store.exists(bucket, key)
    assert sorted(info.key for info in store.list(bucket)) == sorted(neighbours)
    with pytest.raises(ObjectMissing):
        store.get(bucket, key)
    with pytest.raises(ObjectMissing):
        store.head(bucket, key)


@pytest.mark.parametrize("key", ["a", "line\nbreak"], ids=ascii)
def test_says_when_an_object_was_written(store: Store, bucket: str, key: str) -> None:
    store.put(bucket, key, b"data")
    modified_at = store.head(bucket, key).modified_at
    assert modified_at is not None
    assert abs(datetime.now(UTC) - modified_at) < timedelta(minutes=10)


def test_deletes_many_odd_keys_at_once(store: Store, bucket: str) -> None:
    for key in ODD_KEYS:
        store.put(bucket, key, b"x")
    store.delete_many(bucket, (key for key in [*ODD_KEYS, "never there"] if key != "mixed.jpg"))
    assert [info.key for info in store.list(bucket)] == ["mixed.jpg"]
    store.delete_many(bucket, [])


@pytest.mark.parametrize("key", CREATABLE_KEYS, ids=ascii)
def test_creates_once(store: Store, bucket: str, key: str) -> None:
    assert store.create(bucket, key, b"first")
    assert not store.create(bucket, key, b"second")
    assert store.get(bucket, key) == b"first"


def test_one_of_16_racing_creators_wins(store: Store, bucket: str) -> None:
    with ThreadPoolExecutor(16) as threads:
        for attempt in range(3):  # a loser may wait for seconds
            key = f"race/{attempt}"

            def create(writer: int, key: str = key) -> bool:
                return store.create(bucket, key, b"%d" % writer)

            won = list(threads.map(create, range(16)))
            assert Counter(won) == {True: 1, False: 15}
            assert store.get(bucket, key) == b"%d" % won.index(True)


def test_refuses_names_that_no_request_can_carry(store: Store, bucket: str) -> None:
    for key in ("", ".", "a/./b", "a/../b"):
        with pytest.raises(UnsupportedKey):
            store.get(bucket, key)
    with pytest.raises(UnsupportedKey):
        store.create(bucket, "line\nbreak", b"")
    with pytest.raises(UsageError):
        store.make_bucket("Not_A_Bucket")


@pytest.mark.parametrize("size", [0, 1, 1_000, 100_000, 5_000_000, 10_000_000])
def test_keeps_objects_of_any_size(store: Store, bucket: str, size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    path = tmp_path / "file"
    path.write_bytes(data)
    store.put(bucket, "put", data)
    store.create(bucket, "create", data)
    store.put_file(bucket, "file", path)
    listed = list(store.list(bucket))
    assert sorted(info.key for info in listed) == ["create", "file", "put"]
    for info in listed:
        assert info.size == size
        assert store.head(bucket, info.key) == info
        assert store.get_object(bucket, info.key, etag=info.etag) == (info, data)


@pytest.mark.parametrize("key", ["plain", "line\nbreak"], ids=ascii)
@pytest.mark.parametrize("size", [0, 1, 10_000, 20_000_000])
def test_sends_and_gives_a_checked_file_in_pieces(
    store: Store, bucket: str, key: str, size: int, tmp_path: Path
) -> None:
    data, sent = os.urandom(size), [0]
    path = tmp_path / "file"
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    store.put_file(bucket, key, path, sha256=sha256, sent=sent.append)
    assert sent == sorted(sent)
    assert sent[-1] == size
    assert b"".join(store.pieces(bucket, key, max_bytes=size)) == data
    with pytest.raises(ObjectTooLarge):
        next(store.pieces(bucket, key, max_bytes=size - 1))
    with pytest.raises(ObjectMissing):
        next(store.pieces(bucket, "not there", max_bytes=1))


@pytest.mark.parametrize("size", [1, 20_000_000])
@pytest.mark.parametrize("spoil", ["edit", "cut", "grow"])
def test_a_file_that_is_not_what_was_hashed_becomes_no_object(
    store: Store, bucket: str, size: int, spoil: str, tmp_path: Path
) -> None:
    data = bytes(size)
    path = tmp_path / "file"
    spoilt = {"edit": data[:-1] + b"x", "cut": data[:-1], "grow": data + b"x"}
    path.write_bytes(spoilt[spoil])
    sha256 = hashlib.sha256(data).hexdigest()
    if size > 1:  # read in part when it is edited
        path.write_bytes(data)

        def edit(_: int) -> None:
            path.write_bytes(spoilt[spoil])

        if spoil == "grow":
            path.write_bytes(spoilt[spoil])
    else:

        def edit(_: int) -> None:
            return

    with pytest.raises(UsageError, match="changed while"):
        store.put_file(bucket, "file", path, sha256=sha256, sent=edit)
    assert not store.exists(bucket, "file")


@pytest.mark.parametrize("key", ["plain", "line\nbreak"], ids=ascii)
def test_refuses_a_changed_object_and_a_large_one(store: Store, bucket: str, key: str) -> None:
    store.put(bucket, key, b"old")
    old = store.head(bucket, key)
    store.put(bucket, key, b"newer")
    with pytest.raises(ObjectChanged):
        store.get_object(bucket, key, etag=old.etag)
    with pytest.raises(ObjectTooLarge):
        store.get_object(bucket, key, max_bytes=4)
    assert store.get_object(bucket, key, max_bytes=5)[1] == b"newer"


def test_serves_16_threads_at_once(store: Store, bucket: str) -> None:
    shuffled = random.Random(1)
    contents = {
        f"{number}{shuffled.choice(['', chr(10), '#'])}": os.urandom(shuffled.randrange(100_000))
        for number in range(64)
    }
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda item: store.put(bucket, *item), contents.items()))
        keys = list(contents) * 8
        shuffled.shuffle(keys)
        for key, (info, data) in zip(
            keys, threads.map(lambda key: store.get_object(bucket, key), keys), strict=True
        ):
            assert info.key == key
            assert data == contents[key]


def test_making_a_bucket_twice_is_fine(store: Store, bucket: str) -> None:
    assert store.bucket_exists(bucket)
    store.put(bucket, "kept", b"x")
    store.make_bucket(bucket)
    assert store.exists(bucket, "kept")
    assert not store.bucket_exists("contract-nowhere")


def test_the_users_environment_decides_nothing(
    s3: S3Settings, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "theirs",
        "AWS_SECRET_ACCESS_KEY": "theirs",
        "AWS_SESSION_TOKEN": "theirs",
        "AWS_PROFILE": "theirs",
        "AWS_REGION": "eu-north-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_SKIP_SIGNATURE": "true",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    # Another spelling of the host, so that no client made before is taken.
    fresh = connect_store(
        s3.model_copy(update={"endpoint": s3.endpoint.replace("127.0.0.1", "localhost")})
    )
    assert fresh.create(bucket, "key", b"x")
    assert fresh.get(bucket, "key") == b"x"
    assert [info.key for info in fresh.list(bucket)] == ["key"]
