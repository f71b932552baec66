"""Listing a bucket's folders side by side: one listing waits for each page, and for one core."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice

from producer.sources.prefetch import Idle, prefetched
from shared.storage import ObjectInfo, Store

LISTING_THREADS = 8
# Folders enough to keep the threads busy; until there are, a level further down is looked at.
ENOUGH_FOLDERS = 4 * LISTING_THREADS
MAX_LEVELS = 3
_PART_OBJECTS = 1000


def list_in_parallel(store: Store, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
    """What ``store.list`` gives, in another order: each object once. Memory does not grow."""
    folders, whole = [prefix], list[str]()
    for _ in range(MAX_LEVELS):
        if not folders or len(folders) + len(whole) >= ENOUGH_FOLDERS:
            break
        above, folders = folders, []
        for folder in above:
            level = store.list_level(bucket, folder)
            if level is None:  # to list each of very many folders would cost more than it gains
                whole.append(folder)
            else:
                yield from level.objects
                folders += level.folders
    listings = [_parts(store, bucket, folder) for folder in dict.fromkeys(whole + folders)]
    with closing(prefetched(*listings, threads=LISTING_THREADS, ahead=LISTING_THREADS)) as parts:
        for part in parts:
            if not isinstance(part, Idle):
                yield from part


def _parts(store: Store, bucket: str, folder: str) -> Iterable[list[ObjectInfo]]:
    """Many at once, since handing one over costs as much as listing it."""
    found = store.list(bucket, folder)
    while part := list(islice(found, _PART_OBJECTS)):
        yield part
