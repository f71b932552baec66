"""A folder into a bucket: what is there already is left alone."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from pydantic import BaseModel

from producer import Warn
from producer.upload.folder import Folder, FolderFile, unreadable
from shared.errors import UsageError
from shared.storage import ObjectInfo, Store, parse_s3_url

PARALLEL_UPLOADS = 16
# Store.put_file sends larger files in parts of this size, and their ETag is made of the parts'.
PART_BYTES = 5 * 2**20


class UploadReport(BaseModel):
    """What an upload did. ``bytes`` counts what was sent, ``hidden`` the files left out as such."""

    bucket: str
    prefix: str
    uploaded: int = 0
    skipped: int = 0
    hidden: int = 0
    bytes: int = 0


def upload(
    directory: Path,
    url: str,
    store_of: Callable[[str], Store],
    *,
    warn: Warn,
    progress: Callable[[int, int], None],
    everything: bool = False,
) -> UploadReport:
    """Upload every file below ``directory``; the key is the prefix, a slash, and the path.

    Hidden and system files are left out and counted, unless ``everything``; symbolic links are
    followed. ``progress(done, total)`` is called from this thread. Ctrl-C ends it after the files
    in flight, and the next run goes on from there. Raises UsageError for a folder that is missing
    or has nothing to upload, and the store's errors.
    """
    bucket, prefix = parse_s3_url(url)
    report = UploadReport(bucket=bucket, prefix=prefix)
    folder = Folder(directory, warn, everything=everything)
    files = list(folder.files(prefix))
    report.hidden = folder.hidden
    if not files:
        raise _no_files(folder)
    store = store_of(bucket)
    store.make_bucket(bucket)
    present = _present(store, bucket, prefix, {file.key for file in files})
    stopping = threading.Event()

    def send(file: FolderFile) -> bool:
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


def _no_files(folder: Folder) -> UsageError:
    problem, advice = f"There is nothing to upload in {folder.path}", "Check the path."
    if folder.hidden:
        problem += f" besides hidden and system files: {folder.hidden}"
        advice = "--all uploads them."
    return UsageError("no_files", f"{problem}.", advice)


def _present(store: Store, bucket: str, prefix: str, wanted: set[str]) -> dict[str, ObjectInfo]:
    found = store.list(bucket, prefix)
    return {info.key: info for info in found if info.key in wanted}


def is_same(file: FolderFile, there: ObjectInfo | None) -> bool:
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


def _outcome(result: Callable[[], bool], file: FolderFile) -> bool:
    try:
        return result()
    except OSError as error:
        raise unreadable(file.path, error) from error
