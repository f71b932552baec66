"""A user's code and files: fetched by their hashes, checked, and laid out in a folder."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import socket
import stat
import struct
import tempfile
import time
import zipfile
from collections.abc import Set
from pathlib import Path

from shared.errors import PermanentError, TransientError
from shared.keys import code_key, file_key
from shared.model import MAX_CODE_BYTES, Model, check_inside
from shared.storage import BucketMissing, ObjectMissing, ObjectTooLarge, Store
from workers.inference.errors import HostUnable, ModelUnusable

# An archive has the names of its modules beside their source.
MAX_ARCHIVE_BYTES = 2 * MAX_CODE_BYTES
ENCRYPTED = 1
PART = ".part"
# Files on their way are written to all the time; an old one is of a process that was killed.
LOST_SECONDS = 3600.0
# What was used since may be linked from the folder of a class that is being constructed.
USED_SECONDS = 3600.0

CodeStamp = tuple[int, int, int, int]


class UserCode:
    """Keeps what it fetches in ``cache``, under its sha256; several processes may share that.

    A user's class, or another program, could change a file later: one that has changed since its
    hash was last checked is checked again.
    """

    def __init__(self, store: Store, bucket: str, cache: Path) -> None:
        self._store, self._bucket, self._cache = store, bucket, cache
        self._verified: dict[Path, CodeStamp] = {}

    def lay_out(self, model: Model, folder: Path) -> None:
        """Put a class's packed code, and links to its files, into an empty folder.

        Raises ModelUnusable for what is missing, or is not what its hash says, HostUnable for what
        this machine may not fetch or has no room for, and TransientError where the store does not
        answer or nothing can be written.
        """
        assert model.code_sha256 is not None
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            self._sweep()
            self._make_room(model)
            key, sha256 = code_key(model.code_sha256), model.code_sha256
            archive = self._cached(key, sha256, MAX_ARCHIVE_BYTES).read_bytes()
            files = {
                file.name: self._cached(file_key(file.sha256), file.sha256, file.bytes)
                for file in model.files
            }
        except OSError as error:
            raise _not_written(error, self._cache) from error
        if hashlib.sha256(archive).hexdigest() != sha256:
            raise HostUnable(
                f"{self._cache / sha256} on {socket.gethostname()} changed while it was read.",
                "Remove it, and enqueue the job again.",
            )
        try:
            _unpack(archive, folder)
            for name, cached in files.items():
                _place(folder, name).symlink_to(cached.absolute())
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            raise ModelUnusable(
                f"Two files of '{model.name}' have one name: {error.filename}.",
                "Rename one, and enqueue the job again.",
            ) from error
        except OSError as error:
            raise _not_written(error, folder) from error

    def _cached(self, key: str, sha256: str, max_bytes: int) -> Path:
        """The file with that hash, fetched unless it is there unchanged."""
        path = self._cache / sha256
        if not self._is_right(path, sha256):
            self._verified.pop(path, None)
            self._fetch(key, sha256, max_bytes, path)
        return path

    def _make_room(self, model: Model) -> None:
        """Where the files do not fit, remove others, those first that were not used for longest."""
        sizes = {file.sha256: file.bytes for file in model.files}
        needed = sum(size for sha256, size in sizes.items() if not self._has(sha256, size))
        if shutil.disk_usage(self._cache).free >= needed:
            return
        for path in self._unused(keep={*sizes, str(model.code_sha256)}):
            path.unlink(missing_ok=True)
            if shutil.disk_usage(self._cache).free >= needed:
                return
        free_mib = shutil.disk_usage(self._cache).free / 2**20
        raise HostUnable(
            f"The files of '{model.name}' need {needed / 2**20:.1f} MiB, and {free_mib:.1f} MiB "
            f"are free in {self._cache} on {socket.gethostname()}.",
            "Make room there, and enqueue the job again.",
        )

    def _has(self, sha256: str, size: int) -> bool:
        path = self._cache / sha256
        return path.is_file() and path.stat().st_size == size

    def _unused(self, keep: Set[str]) -> list[Path]:
        """What may be removed, the oldest first: a class may just be opening newer ones."""
        used: dict[Path, float] = {}
        for path in self._cache.iterdir():
            if path.name not in keep and path.suffix != PART and path.is_file():
                found = path.stat()
                used[path] = max(found.st_atime, found.st_mtime)
        old = [path for path, at in used.items() if time.time() - at > USED_SECONDS]
        return sorted(old, key=used.__getitem__)

    def _is_right(self, path: Path, sha256: str) -> bool:
        if path.exists() and not path.is_file():
            raise HostUnable(
                f"{path} on {socket.gethostname()} is not a file.",
                "Remove it, and enqueue the job again.",
            )
        try:
            with path.open("rb") as file:
                stamp = _stamp(os.fstat(file.fileno()))
                if self._verified.get(path) == stamp:
                    return True
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    return False
        except FileNotFoundError:
            return False
        self._verified[path] = stamp
        return True

    def _fetch(self, key: str, sha256: str, max_bytes: int, path: Path) -> None:
        descriptor, name = tempfile.mkstemp(dir=self._cache, prefix=f"{sha256}.", suffix=PART)
        temporary, digest = Path(name), hashlib.sha256()
        try:
            with os.fdopen(descriptor, "wb") as file:
                for piece in self._store.pieces(self._bucket, key, max_bytes=max_bytes):
                    digest.update(piece)
                    file.write(piece)
                if digest.hexdigest() != sha256:
                    raise self._wrong(key, "is not what its name says")
                os.fchmod(file.fileno(), 0o444)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)  # which changes the time of its last change
            self._verified[path] = _stamp(path.stat())
        except PermanentError as error:
            if isinstance(error, ModelUnusable):
                raise
            hint = error.hint or "Enqueue the job again."
            is_missing = isinstance(error, (ObjectMissing, BucketMissing, ObjectTooLarge))
            kind = ModelUnusable if is_missing else HostUnable
            raise kind(error.message, hint) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _wrong(self, key: str, problem: str) -> ModelUnusable:
        return ModelUnusable(
            f"s3://{self._bucket}/{key} {problem}.", "Remove it, and enqueue the job again."
        )

    def _sweep(self) -> None:
        """Remove what killed processes were fetching."""
        for path in self._cache.glob(f"*{PART}"):
            try:
                if time.time() - path.stat().st_mtime > LOST_SECONDS:
                    path.unlink()
            except FileNotFoundError:  # it came to its end just now
                continue


def _unpack(data: bytes, folder: Path) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in _checked(archive):
                with _place(folder, entry.filename).open("xb") as file:
                    file.write(archive.read(entry))
    except (zipfile.BadZipFile, ValueError, RuntimeError, EOFError, struct.error) as error:
        raise ModelUnusable(
            f"The packed code cannot be unpacked: {error}.", "Enqueue the job again."
        ) from error


def _checked(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The entries, all of them as ``shared.catalog.packing`` makes them. Raises ValueError."""
    entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > MAX_CODE_BYTES:
        raise ValueError("it is larger than packed code may be")
    for entry in entries:
        check_inside(entry.filename)
        mode = entry.external_attr >> 16
        is_plain = stat.S_ISREG(mode) and not entry.flag_bits & ENCRYPTED
        if not is_plain or entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{entry.filename!r} is not a plain file")
        if entry.compress_size != entry.file_size:
            raise ValueError(f"{entry.filename!r} is not as large as it says")
    return entries


def _place(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _not_written(error: OSError, where: Path) -> TransientError:
    reason = error.strerror or error
    return TransientError("code_not_written", f"Cannot write {error.filename or where}: {reason}.")


def _stamp(found: os.stat_result) -> CodeStamp:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
