"""What every store must list: pages, folders and levels, held against real servers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.storage import Store


@pytest.fixture(scope="module")
def tree(store: Store) -> tuple[str, set[str]]:
    """A bucket with 2,500 keys of mixed depth, which is three pages."""
    chosen = random.Random(2)
    names = ["a", "b", "a-b", "a.b", "a b", "A", "é", "10", "2", "a!", "a+", "line\nbreak"]
    keys: set[str] = set()
    while len(keys) < 2_500:
        parts = [
            chosen.choice(names) + str(chosen.randrange(40)) for _ in range(chosen.randint(1, 4))
        ]
        keys.add("/".join(parts) + f".{chosen.randrange(9)}")
    bucket = "contract-tree"
    store.make_bucket(bucket)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda key: store.put(bucket, key, b"x"), keys))
    return bucket, keys


@pytest.mark.parametrize("prefix", ["", "a", "a-b", "a1/", "a b", "é1", "line\nb", "nothing"])
def test_lists_each_key_once_over_pages(
    store: Store, tree: tuple[str, set[str]], prefix: str
) -> None:
    bucket, keys = tree
    listed = Counter(info.key for info in store.list(bucket, prefix))
    assert listed == Counter(key for key in keys if key.startswith(prefix))


def test_names_its_buckets(store: Store, tree: tuple[str, set[str]]) -> None:
    assert tree[0] in set(store.bucket_names())


def test_lists_folders_by_name(store: Store, tree: tuple[str, set[str]]) -> None:
    bucket, keys = tree
    top = {key.split("/")[0] for key in keys if "/" in key}
    assert Counter(store.list_folders(bucket, "")) == Counter(top)
    inner = {key.split("/")[1] for key in keys if key.startswith("a1/") and key.count("/") > 1}
    assert set(store.list_folders(bucket, "a1/")) == inner
    assert set(store.list_folders(bucket, "a1")) == inner
    assert list(store.list_folders(bucket, "nothing/")) == []


@pytest.mark.parametrize("prefix", ["a1/", "a", "é1", "nothing"])
def test_lists_a_level(store: Store, tree: tuple[str, set[str]], prefix: str) -> None:
    bucket, keys = tree
    rests = [key.removeprefix(prefix) for key in keys if key.startswith(prefix)]
    level = store.list_level(bucket, prefix)
    assert level is not None
    listed = Counter(info.key for info in level.objects)
    assert listed == Counter(prefix + rest for rest in rests if "/" not in rest)
    folders = {prefix + rest.partition("/")[0] + "/" for rest in rests if "/" in rest}
    assert Counter(level.folders) == Counter(folders)


def test_a_level_of_more_than_a_page_is_none(store: Store, bucket: str) -> None:
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda n: store.put(bucket, f"flat/{n}", b""), range(1001)))
    assert store.list_level(bucket, "flat/") is None
    level = store.list_level(bucket, "")
    assert level is not None
    assert level.folders == ["flat/"]


def test_a_listing_shows_a_delete_at_once(store: Store, bucket: str) -> None:
    store.put(bucket, "jobs/1/spec.json", b"{}")
    store.put(bucket, "jobs/2/spec.json", b"{}")
    store.delete_many(bucket, ["jobs/1/spec.json"])
    assert [info.key for info in store.list(bucket)] == ["jobs/2/spec.json"]
    # A store that keeps folders may go on naming the emptied one for minutes.
    assert "2" in set(store.list_folders(bucket, "jobs/")) <= {"1", "2"}


def test_listing_streams(store: Store, tree: tuple[str, set[str]]) -> None:
    listing = store.list(tree[0])
    assert isinstance(listing, Iterator)
    assert next(listing).key in tree[1]
