"""A set of keys on disk, for listings too long to remember."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType


class KeySet:
    """Keys in a file of ``directory`` that goes with the process, however that ends.

    For one thread.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(".keys", dir=directory)
        self._database = sqlite3.connect(name, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("CREATE TABLE keys (key BLOB PRIMARY KEY) WITHOUT ROWID")
        os.close(descriptor)
        Path(name).unlink()  # it stays until it is closed

    def update(self, keys: Iterable[str]) -> None:
        """Add keys; those that are there already are fine."""
        rows = ((key.encode(),) for key in keys)
        self._database.execute("BEGIN")
        self._database.executemany("INSERT OR IGNORE INTO keys VALUES (?)", rows)
        self._database.execute("COMMIT")

    def __contains__(self, key: str) -> bool:
        query = "SELECT 1 FROM keys WHERE key = ?"
        return self._database.execute(query, (key.encode(),)).fetchone() is not None

    def __enter__(self) -> KeySet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()
