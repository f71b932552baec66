"""Reading a user's files so that a change while the command runs is noticed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from shared.errors import UsageError
from shared.storage.checked import file_changed

DocumentStamp = tuple[int, int, int]


class Reader:
    """Reads each file once and keeps what it was. Raises UsageError, in one line."""

    def __init__(self) -> None:
        self._stamps: dict[Path, DocumentStamp] = {}

    def read(self, path: Path, max_bytes: int) -> bytes:
        """The bytes, or the first ``max_bytes + 1`` of a file that has more."""
        with self._open(path) as file:
            return file.read(max_bytes + 1)

    def sha256(self, path: Path, max_bytes: int) -> tuple[str, int]:
        """The hash of the bytes, and how many there are: no more than when it was looked at."""
        with self._open(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > max_bytes:
                raise file_changed(path)
            return hashlib.file_digest(file, "sha256").hexdigest(), size

    def require_unchanged(self) -> None:
        """Raise UsageError where a file is not what it was when it was read."""
        for path, stamp in self._stamps.items():
            try:
                now = _stamp(path.stat())
            except OSError:
                now = (0, 0, 0)
            if now != stamp:
                raise file_changed(path)

    @contextmanager
    def _open(self, path: Path) -> Iterator[BufferedReader]:
        try:
            # Without waiting: a FIFO would wait for somebody to write.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                found = os.fstat(descriptor)
                if stat.S_ISDIR(found.st_mode):
                    raise UsageError("bad_file", f"{path} is a folder.", "Name a file.")
                if not stat.S_ISREG(found.st_mode):
                    raise UsageError("bad_file", f"{path} is not a file.", "Name a file.")
                self._stamps.setdefault(path, _stamp(found))
                yield file
        except OSError as error:
            raise UsageError(
                "bad_file", f"Cannot read {path}: {error.strerror or error}.", "Check the path."
            ) from error


def _stamp(found: os.stat_result) -> DocumentStamp:
    return found.st_ino, found.st_size, found.st_mtime_ns
