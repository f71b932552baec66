"""A user's code and files into the models bucket, under names that say what is in them."""

from __future__ import annotations

from collections.abc import Callable

from shared.catalog import PackedClass
from shared.keys import code_key, file_key
from shared.storage import ObjectMissing, Store, ensure_bucket

NAMED_FILES = 8

# The file's name, the bytes sent, and of how many.
Progress = Callable[[str, int, int], None]


def silent(*_: object) -> None:
    """Show no progress."""


def upload_class(store: Store, bucket: str, packed: PackedClass, progress: Progress) -> None:
    """Store what is not there yet; what is there is right, or is replaced.

    Raises UsageError for a file that changed since it was packed, and the store's errors.
    """
    ensure_bucket(store, bucket)
    key, archive = code_key(packed.code.sha256), packed.code.archive
    if not store.create(bucket, key, archive) and store.get(bucket, key) != archive:
        store.put(bucket, key, archive)
    for file, path in zip(packed.files, packed.paths, strict=True):
        if _size(store, bucket, file_key(file.sha256)) == file.bytes:
            continue

        def sent(done: int, name: str = file.name, total: int = file.bytes) -> None:
            progress(name, done, total)

        store.put_file(bucket, file_key(file.sha256), path, sha256=file.sha256, sent=sent)


def described(packed: PackedClass) -> str:
    """What travels with the job, in one line."""
    names = [*packed.code.modules, *(file.name for file in packed.files)]
    shown = ", ".join(names[:NAMED_FILES])
    more = f" and {len(names) - NAMED_FILES} more" if len(names) > NAMED_FILES else ""
    files = "1 file" if len(names) == 1 else f"{len(names)} files"
    size = packed.code.source_bytes + sum(file.bytes for file in packed.files)
    return f"packed {shown}{more}: {files}, {_bytes(size)}"


def _size(store: Store, bucket: str, key: str) -> int | None:
    try:
        return store.head(bucket, key).size
    except ObjectMissing:
        return None


def _bytes(size: int) -> str:
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
