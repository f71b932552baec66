"""The items of a retry: what failed in earlier jobs, as the bucket has it now."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from producer.job_rows import StoreOf, iter_rows
from shared.item import Item
from shared.job import JobSpec
from shared.job_store import JobStore
from shared.storage import AccessDenied, ObjectInfo, Store

LOOKED_AT_KEYS = 1000


class FailedRows:
    """The newest failed rows of the job that was retried first, each looked up again.

    An object that cannot be looked up keeps what was known of it, and so fails again.
    """

    def __init__(self, store_of: StoreOf, jobs: JobStore, spec: JobSpec) -> None:
        self._store_of, self._jobs, self._spec = store_of, jobs, spec
        self.skipped = 0

    def __iter__(self) -> Iterator[Item]:
        store = self._store_of(self._spec.bucket)
        assert self._spec.retry_of is not None
        # A retry that was cancelled leaves some of its parent's failures as they were.
        first = self._jobs.first_of(self._jobs.spec(self._spec.retry_of))
        for table in iter_rows(self._store_of, self._jobs, first, status="failed"):
            for row in table.select(["key", "etag", "size"]).to_pylist():
                found = self._look_up(store, row["key"])
                yield (
                    Item(key=found.key, etag=found.etag, size=found.size) if found else Item(**row)
                )

    def _look_up(self, store: Store, key: str) -> ObjectInfo | None:
        """By listing, for a producer may not read inputs; an object is the first of its prefix."""
        try:
            found = islice(store.list(self._spec.bucket, key), LOOKED_AT_KEYS)
            return next((info for info in found if info.key == key), None)
        except AccessDenied:
            return None
