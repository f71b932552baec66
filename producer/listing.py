"""Where a job's items come from: a bucket, or the failed rows of an earlier job."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Protocol

from shared.job import JobSpec
from shared.messages import Item
from shared.storage import ObjectInfo, Store


class Listing(Protocol):
    """Can be listed any number of times; ``skipped`` counts what the last listing left out."""

    skipped: int

    def __iter__(self) -> Iterator[Item]:
        """The items, in the source's order. Raises the store's errors."""
        ...


def matches(spec: JobSpec, key: str) -> bool:
    """Do the job's globs let this key in? They are matched against the whole key."""
    included = spec.include is None or fnmatchcase(key, spec.include)
    return included and not (spec.exclude is not None and fnmatchcase(key, spec.exclude))


def is_folder_marker(found: ObjectInfo) -> bool:
    """Keys that end in a slash and have no bytes are how tools make folders: no images."""
    return found.size == 0 and found.key.endswith("/")


class BucketListing:
    """Everything under the job's prefix that its globs let in, but folder markers."""

    def __init__(self, store: Store, spec: JobSpec) -> None:
        self._store = store
        self._spec = spec
        self.skipped = 0

    def __iter__(self) -> Iterator[Item]:
        self.skipped = 0
        for found in self._store.list(self._spec.bucket, self._spec.prefix):
            if not matches(self._spec, found.key):
                continue
            if is_folder_marker(found):
                self.skipped += 1
            else:
                yield Item(key=found.key, etag=found.etag, size=found.size)
