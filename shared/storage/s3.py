"""The adapter for S3: obstore where it is fastest, the ``minio`` SDK where it is exact.

obstore moves objects at half the CPU cost and knows the create-only PUT, but its path type cannot
hold every key: it refuses control characters, ``//``, ``.`` and ``..``, and drops a leading or a
trailing slash, so that it would fetch another object. One such key also ends its listing. Hence
listings, and objects with such keys, go through ``minio``.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import obstore
from minio.credentials import Credentials
from minio.error import S3Error
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.exceptions import BaseError as ObstoreError
from obstore.store import S3Store as BucketClient

from shared.settings import S3Settings
from shared.storage.checked import CheckedFile
from shared.storage.clients import (
    ANSWER_SECONDS,
    CONNECTIONS,
    RETRIES,
    TRANSFER_SECONDS,
    admin_client,
    bucket_client,
    parts_of,
)
from shared.storage.credentials import READ_ERRORS, RenewedKeys, static_keys
from shared.storage.errors import (
    CredentialsExpired,
    ObjectChanged,
    ObjectMissing,
    ObjectTooLarge,
    UnknownKeys,
    bucket_missing,
    credentials_expired,
    location,
    translated,
)
from shared.storage.listing import page, pages
from shared.storage.pace import paced
from shared.storage.port import ObjectInfo, Page
from shared.storage.throttle import Throttle
from shared.storage.urls import check_bucket_name

if TYPE_CHECKING:
    from typing_extensions import Buffer

DELETE_KEYS = 1000
PIECE_BYTES = 16 * 2**20
# What even a slow line takes in the seconds of an answer.
QUICK_BYTES = 2**18
# The last two are no XML characters, so that a bulk delete could not name them.
_NOT_FOR_OBSTORE = re.compile(r"[\x00-\x1f\x7f\ufffe\uffff]|^/|//|/$|(?:^|/)\.\.?(?:/|$)")


class S3ObjectStore:
    """One S3 endpoint. Connects at the first request.

    ``keys``: where those of ``s3`` change.
    ``single_try_seconds``: each request is sent once and has this long, for who asks in a loop.
    """

    answer_seconds = ANSWER_SECONDS

    def __init__(
        self,
        s3: S3Settings,
        keys: RenewedKeys | None = None,
        *,
        single_try_seconds: int | None = None,
    ) -> None:
        self.endpoint = s3.endpoint
        self._settings = s3
        self._keys = keys or static_keys(s3)
        self._single_try_seconds = single_try_seconds
        self._minio = admin_client(s3, self._keys, single_try_seconds=single_try_seconds)
        self._throttle = Throttle(CONNECTIONS)
        self._buckets: dict[tuple[str, int], BucketClient] = {}  # and by their timeouts

    def get(self, bucket: str, key: str) -> bytes:
        return self.get_object(bucket, key)[1]

    def get_object(
        self, bucket: str, key: str, *, max_bytes: int | None = None, etag: str | None = None
    ) -> tuple[ObjectInfo, bytes]:
        with self._asking(bucket, key):
            if not _for_obstore(key):
                return self._get_exactly(bucket, key, max_bytes, etag)
            began = time.monotonic()
            info, body = self._open(bucket, key, max_bytes, etag, self.answer_seconds)
            try:
                return info, paced(body)
            except ObstoreError:
                if time.monotonic() - began < self.answer_seconds:
                    raise
            # It came at a fair pace, and there is more of it than comes in that time.
            info, body = self._open(bucket, key, max_bytes, etag, TRANSFER_SECONDS)
            return info, paced(body)

    def _open(
        self, bucket: str, key: str, max_bytes: int | None, etag: str | None, timeout_seconds: int
    ) -> tuple[ObjectInfo, Iterable[Buffer]]:
        result = obstore.get(self._bucket(bucket, timeout_seconds), key)
        encoding = result.attributes.get("Content-Encoding", "")
        info = ObjectInfo(key, _bare(result.meta["e_tag"]), result.meta["size"], encoding)
        _check(info, bucket, max_bytes, etag)
        return info, result.stream(min_chunk_size=1)

    def _get_exactly(
        self, bucket: str, key: str, max_bytes: int | None, etag: str | None
    ) -> tuple[ObjectInfo, bytes]:
        response = self._minio.get_object(bucket, key)
        try:
            size = int(response.headers["content-length"])
            encoding = response.headers.get("content-encoding", "")
            info = ObjectInfo(key, _bare(response.headers.get("etag")), size, encoding)
            _check(info, bucket, max_bytes, etag)
            return info, paced(parts_of(response))
        finally:
            response.close()
            response.release_conn()

    def head(self, bucket: str, key: str) -> ObjectInfo:
        try:
            return self._head(bucket, key)
        except ObjectMissing:
            # The answer to a HEAD has no body, which would have said whether it is the bucket.
            if self.bucket_exists(bucket):
                raise
        raise bucket_missing(self.endpoint, bucket)

    def exists(self, bucket: str, key: str) -> bool:
        try:
            self._head(bucket, key)
        except ObjectMissing:
            return False
        return True

    def _head(self, bucket: str, key: str) -> ObjectInfo:
        with self._asking(bucket, key):
            if _for_obstore(key):
                meta = obstore.head(self._bucket(bucket), key)
                etag, modified_at = _bare(meta["e_tag"]), meta["last_modified"]
                return ObjectInfo(key, etag, meta["size"], modified_at=modified_at)
            stat = self._minio.stat_object(bucket, key)
            etag, modified_at = _bare(stat.etag), stat.last_modified
            return ObjectInfo(key, etag, stat.size or 0, modified_at=modified_at)

    def put(self, bucket: str, key: str, data: bytes) -> None:
        with self._asking(bucket, key):
            if _for_obstore(key):
                obstore.put(self._bucket(bucket, _seconds_for(data)), key, data)
            else:
                self._minio.put_object(bucket, key, BytesIO(data), len(data))

    def create(self, bucket: str, key: str, data: bytes) -> bool:
        with self._asking(bucket, key):
            if not _for_obstore(key):
                raise ValueError("no create-only write can be sent for such a name")
            try:
                obstore.put(self._bucket(bucket, _seconds_for(data)), key, data, mode="create")
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

    def pieces(self, bucket: str, key: str, *, max_bytes: int) -> Iterator[bytes]:
        info = self.head(bucket, key)
        _check(info, bucket, max_bytes, None)
        for start in range(0, info.size, PIECE_BYTES):
            with self._asking(bucket, key):
                response = self._minio.get_object(bucket, key, start, PIECE_BYTES)
                try:
                    piece = paced(parts_of(response))
                finally:
                    response.close()
                    response.release_conn()
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
        with path.open("rb") as file, self._asking(bucket, key):
            size = os.fstat(file.fileno()).st_size
            source = file if sha256 is None else CheckedFile(file, path, sha256, size, sent)
            self._minio.put_object(bucket, key, cast(BinaryIO, source), size)

    def signed_url(self, bucket: str, key: str, time: timedelta) -> str:
        with self._asking(bucket, key):
            return str(self._minio.presigned_get_object(bucket, key, expires=time))

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._asking(bucket):
            for part in pages(self._minio, bucket, prefix):
                yield from part.objects

    def list_level(self, bucket: str, prefix: str) -> Page | None:
        with self._throttle.turn(), self._asking(bucket):
            level, more = page(self._minio, bucket, prefix, delimiter="/")
            return None if more else level

    def list_folders(self, bucket: str, prefix: str) -> Iterator[str]:
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        with self._asking(bucket):
            for part in pages(self._minio, bucket, folder, delimiter="/"):
                for found in part.folders:
                    yield found.removeprefix(folder).rstrip("/")

    def delete(self, bucket: str, key: str) -> None:
        with self._asking(bucket, key):
            if _for_obstore(key):
                obstore.delete(self._bucket(bucket), key)
            else:
                self._minio.remove_object(bucket, key)

    def delete_many(self, bucket: str, keys: Iterable[str]) -> None:
        remaining = iter(keys)
        while page := list(islice(remaining, DELETE_KEYS)):
            for key in page:
                if not _for_obstore(key):
                    self.delete(bucket, key)
            with self._asking(bucket):
                obstore.delete(self._bucket(bucket), [key for key in page if _for_obstore(key)])

    def bucket_names(self) -> Iterator[str]:
        with self._asking(""):
            yield from (bucket.name for bucket in self._minio.list_buckets())

    def bucket_exists(self, bucket: str) -> bool:
        with self._asking(bucket):
            return bool(self._minio.bucket_exists(bucket))

    def make_bucket(self, bucket: str) -> None:
        check_bucket_name(bucket)
        with self._asking(bucket):
            try:
                self._minio.make_bucket(bucket)
            except S3Error as error:
                if error.code != "BucketAlreadyOwnedByYou":
                    raise

    @contextmanager
    def _asking(self, bucket: str, key: str | None = None) -> Iterator[None]:
        """Around each request: with keys that are good, as far as we know, and errors of ours.

        A listing takes no turn, which it would keep from page to page.
        """
        try:
            used = self._keys.retrieve()
        except READ_ERRORS as error:
            raise credentials_expired(self.endpoint, str(error)) from error
        try:
            with (
                nullcontext() if key is None else self._throttle.turn(),
                translated(self.endpoint, bucket, key, is_session=bool(used.session_token)),
            ):
                yield
        except (UnknownKeys, CredentialsExpired) as error:
            if self._has_other_keys(used):
                raise credentials_expired(self.endpoint, "they were renewed") from error
            raise

    def _has_other_keys(self, used: Credentials) -> bool:
        try:
            return self._keys.renewed_since(used)
        except READ_ERRORS:
            return False

    def _bucket(self, bucket: str, timeout_seconds: int | None = None) -> BucketClient:
        once = self._single_try_seconds
        seconds = once or timeout_seconds or self.answer_seconds
        client = self._buckets.get((bucket, seconds))
        if client is None:
            # Two threads may both make one, which is harmless; both then use the first.
            retries = 0 if once else RETRIES
            made = bucket_client(self._settings, self._keys, bucket, seconds, retries)
            client = self._buckets.setdefault((bucket, seconds), made)
        return client


def _seconds_for(data: bytes) -> int | None:
    """For a PUT; None for those that are as quick as an answer."""
    return TRANSFER_SECONDS if len(data) > QUICK_BYTES else None


def _for_obstore(key: str) -> bool:
    return bool(key) and not _NOT_FOR_OBSTORE.search(key)


def _bare(etag: str | None) -> str:
    return (etag or "").strip('"')


def _check(info: ObjectInfo, bucket: str, max_bytes: int | None, etag: str | None) -> None:
    if etag is not None and info.etag != etag:
        raise ObjectChanged(
            "object_changed",
            f"{location(bucket, info.key)} was replaced: its ETag is {info.etag}, not {etag}.",
            "List it again.",
        )
    if max_bytes is not None and info.size > max_bytes:
        raise ObjectTooLarge(
            "object_too_large",
            f"{location(bucket, info.key)} has {info.size} bytes, more than {max_bytes}.",
        )
