"""A store in memory, for tests of what only reads and writes objects."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from shared.storage import BucketMissing, ObjectInfo, ObjectMissing


class MemoryStore:
    """``shared.storage.Store`` over dictionaries, one a bucket; ``buckets`` is all it has."""

    def __init__(self, *buckets: str) -> None:
        self.buckets: dict[str, dict[str, bytes]] = {bucket: {} for bucket in buckets}

    def get(self, bucket: str, key: str) -> bytes:
        return self.get_object(bucket, key)[1]

    def get_object(
        self, bucket: str, key: str, *, max_bytes: int | None = None, etag: str | None = None
    ) -> tuple[ObjectInfo, bytes]:
        if max_bytes is not None or etag is not None:
            raise NotImplementedError
        objects = self._objects(bucket)
        if key not in objects:
            raise ObjectMissing("object_missing", f"There is no s3://{bucket}/{key}.")
        return _info(key, objects[key]), objects[key]

    def head(self, bucket: str, key: str) -> ObjectInfo:
        return self.get_object(bucket, key)[0]

    def exists(self, bucket: str, key: str) -> bool:
        return key in self.buckets.get(bucket, {})

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self._objects(bucket)[key] = data

    def create(self, bucket: str, key: str, data: bytes) -> bool:
        return self._objects(bucket).setdefault(key, data) is data

    def put_file(self, bucket: str, key: str, path: Path) -> None:
        self.put(bucket, key, path.read_bytes())

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        for key, data in sorted(self._objects(bucket).items()):
            if key.startswith(prefix):
                yield _info(key, data)

    def list_folders(self, bucket: str, prefix: str) -> Iterator[str]:
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        below = [info.key.removeprefix(folder) for info in self.list(bucket, folder)]
        yield from sorted({key.partition("/")[0] for key in below if "/" in key})

    def delete(self, bucket: str, key: str) -> None:
        self._objects(bucket).pop(key, None)

    def delete_many(self, bucket: str, keys: Iterable[str]) -> None:
        for key in keys:
            self.delete(bucket, key)

    def bucket_exists(self, bucket: str) -> bool:
        return bucket in self.buckets

    def make_bucket(self, bucket: str) -> None:
        self.buckets.setdefault(bucket, {})

    def _objects(self, bucket: str) -> dict[str, bytes]:
        if bucket not in self.buckets:
            raise BucketMissing("bucket_missing", f"There is no bucket '{bucket}'.")
        return self.buckets[bucket]


def _info(key: str, data: bytes) -> ObjectInfo:
    return ObjectInfo(key, hashlib.md5(data).hexdigest(), len(data))
