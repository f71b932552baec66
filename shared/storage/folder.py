"""A folder of this machine as a store, for what runs without a stack."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shared.errors import TransientError
from shared.model import check_inside
from shared.storage.checked import CheckedFile
from shared.storage.errors import (
    BucketMissing,
    ObjectChanged,
    ObjectMissing,
    ObjectTooLarge,
    UnsupportedKey,
)
from shared.storage.port import ObjectInfo, Page, Store
from shared.storage.urls import check_bucket_name

_PIECE_BYTES = 2**20
_LEVEL_ENTRIES = 1000  # as S3 answers


class FolderStore(Store):
    """Buckets are folders, objects are files below them; see ``Store``.

    Keys are relative paths that Linux can hold. The ETag is the MD5 of the bytes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, bucket: str, key: str) -> bytes:
        """See ``Store``."""
        return self.get_object(bucket, key)[1]

    def get_object(
        self, bucket: str, key: str, *, max_bytes: int | None = None, etag: str | None = None
    ) -> tuple[ObjectInfo, bytes]:
        """See ``Store``."""
        path = self._existing(bucket, key)
        size = path.stat().st_size
        if max_bytes is not None and size > max_bytes:
            raise ObjectTooLarge("object_too_large", f"{path} has {size} bytes.")
        data = path.read_bytes()
        info = _info(key, data)
        if etag not in (None, info.etag):
            raise ObjectChanged("object_changed", f"{path} was replaced.")
        return info, data

    def head(self, bucket: str, key: str) -> ObjectInfo:
        """See ``Store``."""
        info = self.get_object(bucket, key)[0]
        seconds = self._existing(bucket, key).stat().st_mtime
        return replace(info, modified_at=datetime.fromtimestamp(seconds, UTC))

    def exists(self, bucket: str, key: str) -> bool:
        """See ``Store``."""
        return self._path(bucket, key).is_file()

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """See ``Store``."""
        self._write(bucket, key, [data], os.replace)

    def create(self, bucket: str, key: str, data: bytes) -> bool:
        """See ``Store``."""
        try:
            self._write(bucket, key, [data], os.link)
        except FileExistsError:
            return False
        return True

    def pieces(self, bucket: str, key: str, *, max_bytes: int) -> Iterator[bytes]:
        """See ``Store``."""
        path = self._existing(bucket, key)
        if path.stat().st_size > max_bytes:
            raise ObjectTooLarge("object_too_large", f"{path} has more than {max_bytes} bytes.")
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece

    def put_file(
        self,
        bucket: str,
        key: str,
        path: Path,
        *,
        sha256: str | None = None,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """See ``Store``."""
        with path.open("rb") as file:
            size = path.stat().st_size
            source = file if sha256 is None else CheckedFile(file, path, sha256, size, sent)
            pieces = iter(lambda: source.read(_PIECE_BYTES), b"")
            self._write(bucket, key, pieces, os.replace)

    def signed_url(self, bucket: str, key: str, time: timedelta) -> str:  # noqa: ARG002
        """The file's address, good for ever."""
        return self._existing(bucket, key).as_uri()

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        """See ``Store``."""
        root = self._existing_bucket(bucket)
        for path in sorted(root.rglob("*")):
            key = path.relative_to(root).as_posix()
            if path.is_file() and key.startswith(prefix):
                yield self.head(bucket, key)

    def list_level(self, bucket: str, prefix: str) -> Page | None:
        """See ``Store``."""
        below = list(self.list(bucket, prefix))
        rests = [info.key.removeprefix(prefix) for info in below]
        folders = {f"{prefix}{rest.partition('/')[0]}/" for rest in rests if "/" in rest}
        objects = [info for info, rest in zip(below, rests, strict=True) if "/" not in rest]
        is_too_much = len(objects) + len(folders) > _LEVEL_ENTRIES
        return None if is_too_much else Page(objects, sorted(folders))

    def list_folders(self, bucket: str, prefix: str) -> Iterator[str]:
        """See ``Store``."""
        folder = self._existing_bucket(bucket) / prefix
        if folder.is_dir():
            yield from sorted(path.name for path in folder.iterdir() if path.is_dir())

    def delete(self, bucket: str, key: str) -> None:
        """See ``Store``."""
        self._path(bucket, key).unlink(missing_ok=True)

    def delete_many(self, bucket: str, keys: Iterable[str]) -> None:
        """See ``Store``."""
        for key in keys:
            self.delete(bucket, key)

    def bucket_names(self) -> Iterator[str]:
        """See ``Store``."""
        # No bucket's name begins with a dot: that is an object on its way.
        found = (path.name for path in self._folder.iterdir() if path.is_dir())
        yield from sorted(name for name in found if not name.startswith("."))

    def bucket_exists(self, bucket: str) -> bool:
        """See ``Store``."""
        return (self._folder / bucket).is_dir()

    def make_bucket(self, bucket: str) -> None:
        """See ``Store``."""
        check_bucket_name(bucket)
        (self._folder / bucket).mkdir(parents=True, exist_ok=True)

    def _path(self, bucket: str, key: str) -> Path:
        try:
            return self._folder / bucket / check_inside(key)
        except ValueError as error:
            raise UnsupportedKey("unsupported_key", f"{error}.") from error

    def _existing(self, bucket: str, key: str) -> Path:
        path = self._path(bucket, key)
        if not path.is_file():
            self._existing_bucket(bucket)
            raise ObjectMissing("object_missing", f"There is no {path}.")
        return path

    def _existing_bucket(self, bucket: str) -> Path:
        if not self.bucket_exists(bucket):
            raise BucketMissing("bucket_missing", f"There is no folder {self._folder / bucket}.")
        return self._folder / bucket

    def _write(
        self, bucket: str, key: str, pieces: Iterable[bytes], place: Callable[[Path, Path], None]
    ) -> None:
        """All of it or nothing. Raises FileExistsError where ``place`` does."""
        self._existing_bucket(bucket)
        path = self._path(bucket, key)
        try:
            _make_parent(path)
            with tempfile.TemporaryDirectory(dir=self._folder, prefix=".") as folder:
                made = Path(folder) / "object"
                with made.open("wb") as file:
                    file.writelines(pieces)
                place(made, path)
        except FileExistsError:
            raise
        except OSError as error:
            raise TransientError(
                "file_not_written", f"Cannot write {path}: {error.strerror}."
            ) from error


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UnsupportedKey(
            "unsupported_key", f"{path} cannot be written: a file stands where its folder would be."
        ) from error


def _info(key: str, data: bytes) -> ObjectInfo:
    return ObjectInfo(key, hashlib.md5(data, usedforsecurity=False).hexdigest(), len(data))
