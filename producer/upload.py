"""A folder into a bucket: what is there already is left alone."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from shared.errors import HeadraceError, UsageError
from shared.storage import ObjectInfo, Store, parse_s3_url

PARALLEL_UPLOADS = 16
# Store.put_file sends larger files in parts of this size, and their ETag is made of the parts'.
PART_BYTES = 5 * 2**20
MAX_KEY_BYTES = 1024

Warn = Callable[[str], None]


class UploadReport(BaseModel):
    """What an upload did. ``bytes`` counts what was sent."""

    bucket: str
    prefix: str
    uploaded: int = 0
    skipped: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file and the key that it gets."""

    path: Path
    key: str
    size: int


def upload(
    directory: Path,
    url: str,
    store_of: Callable[[str], Store],
    *,
    warn: Warn,
    progress: Callable[[int, int], None],
) -> UploadReport:
    """Upload every file below ``directory``; the key is the prefix, a slash, and the path.

    Symbolic links are followed. ``progress(done, total)`` is called from this thread. Ctrl-C ends
    it after the files in flight, and the next run goes on from there. Raises UsageError for a
    folder that is missing or empty, and the store's errors.
    """
    bucket, prefix = parse_s3_url(url)
    report = UploadReport(bucket=bucket, prefix=prefix)
    files = list(local_files(directory, prefix, warn))
    if not files:
        raise UsageError("no_files", f"There are no files in {directory}.", "Check the path.")
    store = store_of(bucket)
    store.make_bucket(bucket)
    present = _present(store, bucket, prefix, {file.key for file in files})
    stopping = threading.Event()

    def send(file: LocalFile) -> bool:
        if stopping.is_set() or is_same(file, present.get(file.key)):
            return False
        store.put_file(bucket, file.key, file.path)
        return True

    with ThreadPoolExecutor(PARALLEL_UPLOADS) as pool:
        futures = {pool.submit(send, file): file for file in files}
        try:
            for done, future in enumerate(as_completed(futures), 1):
                sent = _outcome(future.result, futures[future])
                report.uploaded += sent
                report.skipped += not sent
                report.bytes += sent * futures[future].size
                progress(done, len(files))
        except BaseException:
            stopping.set()
            pool.shutdown(cancel_futures=True)
            raise
    return report


def local_files(directory: Path, prefix: str, warn: Warn) -> Iterator[LocalFile]:
    """The files below ``directory``, in order. What cannot be an object is named by ``warn``."""
    if not directory.is_dir():
        raise UsageError("no_directory", f"There is no folder {directory}.", "Check the path.")
    base = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
    for path in _walk(directory, frozenset(), warn):
        key = base + path.relative_to(directory).as_posix()
        problem = _problem(path, key)
        if problem:
            warn(f"left out {str(path)!a}: {problem}.")
        else:
            yield LocalFile(path, key, path.stat().st_size)


def _walk(folder: Path, above: frozenset[tuple[int, int]], warn: Warn) -> Iterator[Path]:
    try:
        status = folder.stat()
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable(folder, error) from error
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        warn(f"left out {str(folder)!a}: a link to a folder around it.")
        return
    for path in entries:
        if path.is_dir():
            yield from _walk(path, above | {identity}, warn)
        else:
            yield path


def _problem(path: Path, key: str) -> str:
    if not path.exists():
        return "a broken link"
    if not path.is_file():
        return "not a regular file"
    try:
        too_long = len(key.encode()) > MAX_KEY_BYTES
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return f"its key would have more than {MAX_KEY_BYTES} bytes" if too_long else ""


def _present(store: Store, bucket: str, prefix: str, wanted: set[str]) -> dict[str, ObjectInfo]:
    found = store.list(bucket, prefix)
    return {info.key: info for info in found if info.key in wanted}


def is_same(file: LocalFile, there: ObjectInfo | None) -> bool:
    """Whether the object has the file's size and bytes; its ETag is their MD5, or of its parts."""
    if there is None or there.size != file.size:
        return False
    with file.path.open("rb") as stream:
        if "-" not in there.etag:
            return hashlib.file_digest(stream, _md5).hexdigest() == there.etag
        digests = [_md5(part).digest() for part in iter(lambda: stream.read(PART_BYTES), b"")]
    return f"{_md5(b''.join(digests)).hexdigest()}-{len(digests)}" == there.etag


def _md5(data: bytes = b"") -> hashlib._Hash:
    return hashlib.md5(data, usedforsecurity=False)


def _outcome(result: Callable[[], bool], file: LocalFile) -> bool:
    try:
        return result()
    except OSError as error:
        raise _unreadable(file.path, error) from error


def _unreadable(path: Path, error: OSError) -> HeadraceError:
    return HeadraceError(
        "unreadable_file",
        f"Cannot read {str(path)!a}: {error.strerror}.",
        "Make it readable, or move it away, and run the same command again.",
    )
