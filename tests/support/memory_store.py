"""A store in memory, for tests of what only reads and writes objects."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from shared.storage import (
    BucketMissing,
    ObjectChanged,
    ObjectInfo,
    ObjectMissing,
    ObjectTooLarge,
    Page,
    Store,
)
from shared.storage.checked import CheckedFile

_T = TypeVar("_T")


class MemoryStore(Store):
    """``shared.storage.Store`` over dictionaries, one a bucket; ``buckets`` is all it has.

    ``encodings``: the Content-Encoding of those keys that have one. ``modified_at``: when each key
    was written, or as a test sets it.

    A test that wants to know of every request, or to spoil some, overrides ``request``.
    """

    level_entries = 1000

    def __init__(self, *buckets: str) -> None:
        self.buckets: dict[str, dict[str, bytes]] = {bucket: {} for bucket in buckets}
        self.encodings: dict[str, str] = {}
        self.modified_at: dict[str, datetime] = {}

    def request(self, name: str, key: str, action: Callable[[], _T]) -> _T:
        """Every request passes here: the method's ``name``, its key or prefix, what it does."""
        return action()

    def get(self, bucket: str, key: str) -> bytes:
        return self.get_object(bucket, key)[1]

    def get_object(
        self, bucket: str, key: str, *, max_bytes: int | None = None, etag: str | None = None
    ) -> tuple[ObjectInfo, bytes]:
        def get() -> tuple[ObjectInfo, bytes]:
            objects = self._objects(bucket)
            if key not in objects:
                raise ObjectMissing("object_missing", f"There is no s3://{bucket}/{key}.")
            info = _info(key, objects[key])
            if etag not in {None, info.etag}:
                raise ObjectChanged("object_changed", f"s3://{bucket}/{key} was replaced.")
            if max_bytes is not None and info.size > max_bytes:
                raise ObjectTooLarge("object_too_large", f"{key} has {info.size} bytes.")
            return replace(info, encoding=self.encodings.get(key, "")), objects[key]

        return self.request("get", key, get)

    def head(self, bucket: str, key: str) -> ObjectInfo:
        info = self.get_object(bucket, key)[0]
        return replace(info, modified_at=self.modified_at.get(key, datetime.now(UTC)))

    def exists(self, bucket: str, key: str) -> bool:
        return self.request("exists", key, lambda: key in self.buckets.get(bucket, {}))

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self.request("put", key, lambda: self._write(bucket, key, data))

    def create(self, bucket: str, key: str, data: bytes) -> bool:
        def create() -> bool:
            objects = self._objects(bucket)
            if key in objects:
                return False
            self._write(bucket, key, data)
            return True

        return self.request("create", key, create)

    def pieces(self, bucket: str, key: str, *, max_bytes: int) -> Iterator[bytes]:
        data = self.get_object(bucket, key, max_bytes=max_bytes)[1]
        yield from (data[start : start + 1000] for start in range(0, len(data), 1000))

    def put_file(
        self,
        bucket: str,
        key: str,
        path: Path,
        *,
        sha256: str | None = None,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        with path.open("rb") as file:
            size = path.stat().st_size
            source = file if sha256 is None else CheckedFile(file, path, sha256, size, sent)
            self.put(bucket, key, source.read())

    def signed_url(self, bucket: str, key: str, time: timedelta) -> str:
        return f"http://127.0.0.1:1/{bucket}/{quote(key)}?expires={time.total_seconds():.0f}"

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        yield from self.request("list", prefix, lambda: self.found(bucket, prefix))

    def found(self, bucket: str, prefix: str = "") -> Sequence[ObjectInfo]:
        """What there is, without a request."""
        objects = sorted(self._objects(bucket).items())
        return [_info(key, data) for key, data in objects if key.startswith(prefix)]

    def list_level(self, bucket: str, prefix: str) -> Page | None:
        below = [(info, info.key.removeprefix(prefix)) for info in self.list(bucket, prefix)]
        folders = {prefix + rest.partition("/")[0] + "/" for _, rest in below if "/" in rest}
        objects = [info for info, rest in below if "/" not in rest]
        is_too_much = len(objects) + len(folders) > self.level_entries
        return None if is_too_much else Page(objects, sorted(folders))

    def list_folders(self, bucket: str, prefix: str) -> Iterator[str]:
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        below = [info.key.removeprefix(folder) for info in self.list(bucket, folder)]
        yield from sorted({key.partition("/")[0] for key in below if "/" in key})

    def delete(self, bucket: str, key: str) -> None:
        self.request("delete", key, lambda: self._objects(bucket).pop(key, None))

    def delete_many(self, bucket: str, keys: Iterable[str]) -> None:
        for key in keys:
            self.delete(bucket, key)

    def bucket_names(self) -> Iterator[str]:
        yield from sorted(self.buckets)

    def bucket_exists(self, bucket: str) -> bool:
        return bucket in self.buckets

    def make_bucket(self, bucket: str) -> None:
        self.buckets.setdefault(bucket, {})

    def _write(self, bucket: str, key: str, data: bytes) -> None:
        self._objects(bucket)[key] = data
        self.modified_at[key] = datetime.now(UTC)

    def _objects(self, bucket: str) -> dict[str, bytes]:
        if bucket not in self.buckets:
            raise BucketMissing("bucket_missing", f"There is no bucket '{bucket}'.")
        return self.buckets[bucket]


def _info(key: str, data: bytes) -> ObjectInfo:
    return ObjectInfo(key, hashlib.md5(data).hexdigest(), len(data))
