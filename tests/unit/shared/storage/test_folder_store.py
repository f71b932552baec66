"""A folder as a store: what the contract says of every store, and what only a folder cannot do."""

from __future__ import annotations

import resource
import secrets
import tracemalloc
from pathlib import Path

import pytest

from shared.errors import TransientError, UsageError
from shared.storage import BucketMissing, Store, UnsupportedKey
from shared.storage.folder import FolderStore
from tests.contract.test_store import (
    test_creates_once as test_creates_once,
)
from tests.contract.test_store import (
    test_keeps_objects_of_any_size as test_keeps_objects_of_any_size,
)
from tests.contract.test_store import (
    test_making_a_bucket_twice_is_fine as test_making_a_bucket_twice_is_fine,
)
from tests.contract.test_store import (
    test_one_of_16_racing_creators_wins as test_one_of_16_racing_creators_wins,
)
from tests.contract.test_store_listing import (
    test_a_level_of_more_than_a_page_is_none as test_a_level_of_more_than_a_page_is_none,
)
from tests.contract.test_store_listing import (
    test_a_listing_shows_a_delete_at_once as test_a_listing_shows_a_delete_at_once,
)

# In bytes; a file cannot grow beyond it.
LARGEST = 2**20


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def bucket(store: Store) -> str:
    name = f"contract-{secrets.token_hex(6)}"
    store.make_bucket(name)
    return name


@pytest.fixture
def lists_below_objects() -> bool:
    """A file has nothing below it."""
    return False


@pytest.mark.parametrize(
    "key", ["", ".", "/a", "a/", "a//b", "../a", "a/../../b", "a\0", "é" * 200]
)
def test_no_key_leads_out_of_the_folder(store: Store, bucket: str, key: str) -> None:
    for action in (store.get, store.head, store.exists, store.delete):
        with pytest.raises(UnsupportedKey):
            action(bucket, key)
    for write in (store.put, store.create):
        with pytest.raises(UnsupportedKey):
            write(bucket, key, b"x")


def test_a_key_below_an_objects_is_refused(store: Store, bucket: str) -> None:
    store.put(bucket, "mixed", b"x")
    for key in ("mixed/a", "mixed/a/b"):
        with pytest.raises(UnsupportedKey, match="a file stands where its folder would be"):
            store.put(bucket, key, b"x")
        assert not store.exists(bucket, key)
    assert [info.key for info in store.list(bucket)] == ["mixed"]


def test_a_key_that_is_a_folder_is_refused(store: Store, bucket: str, tmp_path: Path) -> None:
    store.put(bucket, "folder/a", b"x")
    with pytest.raises(TransientError, match="Cannot write"):
        store.put(bucket, "folder", b"x")
    files = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert [path.name for path in files] == ["a"]  # no half-written file is left


def test_a_bucket_is_made_before_it_is_used(store: Store) -> None:
    with pytest.raises(BucketMissing):
        store.put("not-there", "a", b"x")
    with pytest.raises(BucketMissing):
        store.get("not-there", "a")
    with pytest.raises(BucketMissing):
        list(store.list("not-there"))
    with pytest.raises(UsageError):
        store.make_bucket("../out")


def test_two_stores_of_a_folder_see_the_same(store: Store, bucket: str, tmp_path: Path) -> None:
    store.put(bucket, "a/b", b"x")
    other = FolderStore(tmp_path / "store")
    assert other.get(bucket, "a/b") == b"x"
    assert list(other.list_folders(bucket, "")) == ["a"]
    assert list(other.bucket_names()) == [bucket]


@pytest.mark.parametrize("write", ["put", "create", "put_file"])
def test_an_object_that_cannot_be_written_leaves_nothing(
    store: Store, bucket: str, write: str, tmp_path: Path
) -> None:
    data: bytes | Path = bytes(2 * LARGEST)
    if write == "put_file":
        (path := tmp_path / "file").write_bytes(bytes(2 * LARGEST))
        data = path
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, before[1]))
    try:
        with pytest.raises(TransientError, match="File too large"):
            getattr(store, write)(bucket, "a/b", data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(store.list(bucket)) == []
    assert [path.name for path in (tmp_path / "store").iterdir()] == [bucket]


def test_a_large_file_is_stored_without_being_held_in_memory(
    store: Store, bucket: str, tmp_path: Path
) -> None:
    with (path := tmp_path / "file").open("wb") as file:
        file.truncate(32 * 2**20)
    tracemalloc.start()
    try:
        store.put_file(bucket, "a", path)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
    assert store.head(bucket, "a").size == 32 * 2**20
