"""Uploading a file that must not have changed since it was hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from shared.errors import UsageError


class CheckedFile:
    """A file to upload, which fails with its last bytes unless all have the sha256 expected.

    So a file that changed since it was hashed never becomes an object.
    """

    def __init__(
        self,
        file: BinaryIO,
        path: Path,
        sha256: str,
        size: int,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        self._file, self._path, self._sha256, self._left = file, path, sha256, size
        self._digest, self._size, self._sent = hashlib.sha256(), size, sent
        if not size:  # nobody reads it
            self.read()

    def read(self, size: int = -1) -> bytes:
        """As of any file. Raises UsageError ``file_changed``."""
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._digest.update(data)
        self._left -= len(data)
        if (not data and self._left) or (
            not self._left and self._digest.hexdigest() != self._sha256
        ):
            raise file_changed(self._path)
        if self._sent:
            self._sent(self._size - self._left)
        return data


def file_changed(path: Path) -> UsageError:
    """The error for a file that changed since it was hashed."""
    return UsageError(
        "file_changed", f"{path} changed while it was packed.", "Run the command again."
    )
