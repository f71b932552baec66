"""Folders listed side by side give what one listing gives."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.sources.parallel_listing import ENOUGH_FOLDERS, list_in_parallel
from shared.errors import HeadraceError
from shared.storage import Page, StoreUnavailable
from tests.support.memory_store import MemoryStore

PARTS = st.lists(st.sampled_from(["", "a", "b", "c.jpg", "é", "a b"]), min_size=1, max_size=5)
KEYS = st.sets(PARTS.map("/".join).filter(bool), max_size=60)


def store_of(keys: set[str], level_entries: int = 1000) -> MemoryStore:
    store = MemoryStore("photos")
    store.level_entries = level_entries
    store.buckets["photos"] = dict.fromkeys(keys, b"x")
    return store


@settings(deadline=None, max_examples=150)
@given(keys=KEYS, prefix=st.sampled_from(["", "a", "a/", "a/b/"]), entries=st.integers(1, 8))
def test_each_key_once(keys: set[str], prefix: str, entries: int) -> None:
    store = store_of(keys, entries)
    listed = Counter(info.key for info in list_in_parallel(store, "photos", prefix))
    assert listed == Counter(key for key in keys if key.startswith(prefix))


def test_few_folders_are_looked_into_and_many_are_not() -> None:
    folders = [f"{year}/{day:03}/" for year in (2024, 2025) for day in range(ENOUGH_FOLDERS)]
    store = store_of({f"{folder}{n}.jpg" for folder in folders for n in range(3)})
    asked: list[str] = []
    level_of = store.list_level

    def list_level(bucket: str, prefix: str) -> Page | None:
        asked.append(prefix)
        return level_of(bucket, prefix)

    store.list_level = list_level  # type: ignore[method-assign]
    assert sum(1 for _ in list_in_parallel(store, "photos", "")) == 3 * len(folders)
    assert asked == ["", "2024/", "2025/"]


def test_what_a_lane_raises_is_raised() -> None:
    store = store_of({f"{n}/x" for n in range(50)})

    def away(bucket: str, prefix: str = "") -> None:
        raise StoreUnavailable("store_unavailable", "It does not answer.")

    level = store.list_level("photos", "")
    store.list_level = lambda *_: level  # type: ignore[method-assign]
    store.list = away  # type: ignore[assignment, method-assign]
    with pytest.raises(HeadraceError, match="does not answer"):
        list(list_in_parallel(store, "photos", ""))


def test_who_wants_no_more_leaves() -> None:
    store = store_of({f"{n}/{m}" for n in range(50) for m in range(20)})
    found = list_in_parallel(store, "photos", "")
    assert len(list(islice(found, 10))) == 10
    found.close()  # type: ignore[attr-defined]
