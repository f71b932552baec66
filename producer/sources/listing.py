"""Where a job's items come from: its bucket; see ``failed_rows`` for those of a retry."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Protocol

from producer.sources.parallel_listing import list_in_parallel
from shared.item import Item
from shared.job import JobSpec
from shared.storage import ObjectInfo, Store


class Listing(Protocol):
    """Can be listed any number of times; ``skipped`` counts what the last listing left out."""

    skipped: int

    def __iter__(self) -> Iterator[Item]:
        """Each item once, in no promised order. Raises HeadraceError where it cannot be done."""
        ...


def is_folder_marker(info: ObjectInfo) -> bool:
    """An object by which tools make folders: empty, and with a name that ends in a slash."""
    return info.key.endswith("/") and info.size == 0


def matches_patterns(spec: JobSpec, key: str) -> bool:
    """Does one of ``include`` match, if there are any, and none of ``exclude``?

    Patterns match the whole key, ``*`` slashes too.
    """
    if spec.include and not any(fnmatchcase(key, pattern) for pattern in spec.include):
        return False
    return not any(fnmatchcase(key, pattern) for pattern in spec.exclude)


class BucketListing:
    """Everything under the job's prefix that its patterns let in, but folder markers."""

    def __init__(self, store: Store, spec: JobSpec) -> None:
        self._store, self._spec = store, spec
        self.skipped = 0

    def __iter__(self) -> Iterator[Item]:
        self.skipped = 0
        for found in list_in_parallel(self._store, self._spec.bucket, self._spec.prefix):
            if not matches_patterns(self._spec, found.key):
                continue
            if is_folder_marker(found):
                self.skipped += 1
            else:
                yield Item(key=found.key, etag=found.etag, size=found.size)
