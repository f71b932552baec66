"""What lies in the models bucket, which is empty as long as nobody has made it."""

from __future__ import annotations

from collections.abc import Iterator

from shared.errors import PermanentError
from shared.storage import BucketMissing, ObjectInfo, Store


class NotOurs(PermanentError):
    """An object that Headrace did not write where only Headrace writes."""


def listed(store: Store, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
    """The objects below ``prefix``. Raises the store's other errors."""
    try:
        yield from store.list(bucket, prefix)
    except BucketMissing:
        return


def folders(store: Store, bucket: str, prefix: str = "") -> Iterator[str]:
    """The names of the folders right below ``prefix``. Raises the store's other errors."""
    try:
        yield from store.list_folders(bucket, prefix)
    except BucketMissing:
        return
