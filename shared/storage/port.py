"""What Headrace needs of an object store, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object as listed: its whole key, its ETag without quotes, its size in bytes as stored.

    ``encoding`` is its Content-Encoding, known of a fetched object alone. Nothing is unpacked.
    ``modified_at``: when it was last written, by the store's clock; known from ``head`` alone.
    """

    key: str
    etag: str
    size: int
    encoding: str = ""
    modified_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Page:
    """What one answer lists: objects, and folders by their whole prefixes, which end in a slash."""

    objects: list[ObjectInfo]
    folders: list[str]


class Store(Protocol):
    """One endpoint with one set of credentials; safe to use from many threads.

    Keys are taken and given literally, whatever is in them: nothing is decoded, normalised or
    stripped. Every method raises AccessDenied, BucketMissing, StoreUnavailable, or UnsupportedKey
    for a key that cannot be asked for at all; what else it raises, it says.
    """

    def get(self, bucket: str, key: str) -> bytes:
        """The whole object. Raises ObjectMissing."""
        ...

    def get_object(
        self, bucket: str, key: str, *, max_bytes: int | None = None, etag: str | None = None
    ) -> tuple[ObjectInfo, bytes]:
        """The object and what it is, of one version. Raises ObjectMissing.

        Raises ObjectChanged unless it has ``etag``, and ObjectTooLarge if it has more than
        ``max_bytes``; both before the body is read.
        """
        ...

    def head(self, bucket: str, key: str) -> ObjectInfo:
        """What the object is, without its bytes. Raises ObjectMissing."""
        ...

    def exists(self, bucket: str, key: str) -> bool:
        """Is the object there? Where the bucket is not, it is not either."""
        ...

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Write the object, over one that is there."""
        ...

    def create(self, bucket: str, key: str, data: bytes) -> bool:
        """Write the object unless there is one: of any number of writers, one gets True.

        False may follow an own write whose answer was lost: read what is there. Raises
        UnsupportedKey for control characters, ``//``, and a slash at either end.
        """
        ...

    def pieces(self, bucket: str, key: str, *, max_bytes: int) -> Iterator[bytes]:
        """The object's bytes, some MiB at a time, for what is too large for memory.

        Raises ObjectMissing, and ObjectTooLarge if it has more than ``max_bytes``. Of an object
        that is replaced meanwhile there are bytes of both: check them.
        """
        ...

    def put_file(
        self,
        bucket: str,
        key: str,
        path: Path,
        *,
        sha256: str | None = None,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """Write a file's bytes, over an object that is there. Raises OSError for the file.

        With ``sha256`` raises UsageError ``file_changed``, and writes nothing, where the bytes have
        another; ``sent`` is told then how many are read.
        """
        ...

    def signed_url(self, bucket: str, key: str, time: timedelta) -> str:
        """A link with which anyone may read the object for so long, if our own keys may.

        Sends no request: the object may be missing. Temporary keys may end before the link.
        """
        ...

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object whose key starts with ``prefix``, in the store's own order.

        A page at a time: memory does not grow with the bucket. Raises at the first ``next``.
        """
        ...

    def list_level(self, bucket: str, prefix: str) -> Page | None:
        """The objects whose keys have no slash after ``prefix``, and the folders of the others.

        None where one answer does not hold them all.
        """
        ...

    def list_folders(self, bucket: str, prefix: str) -> Iterator[str]:
        """The names, without slashes, of the folders directly in the folder ``prefix``.

        A store that keeps folders, as SeaweedFS does, names an emptied one for minutes more.
        """
        ...

    def delete(self, bucket: str, key: str) -> None:
        """Delete the object; a missing one is fine."""
        ...

    def delete_many(self, bucket: str, keys: Iterable[str]) -> None:
        """Delete objects by the thousand; missing ones are fine."""
        ...

    def bucket_names(self) -> Iterator[str]:
        """Every bucket of the store, if its credentials may see them."""
        ...

    def bucket_exists(self, bucket: str) -> bool:
        """Is the bucket there?"""
        ...

    def make_bucket(self, bucket: str) -> None:
        """Make the bucket; one that is there is fine. Raises AlreadyExists for another's."""
        ...


def ensure_bucket(store: Store, bucket: str) -> bool:
    """Make a bucket unless it is there; returns whether it was made. Raises the store's errors."""
    if store.bucket_exists(bucket):
        return False
    store.make_bucket(bucket)
    return True
