"""A set of keys on disk, for listings too long to remember."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType


class KeySet:
    """Keys in a file of its own, which is gone when the set is closed. For one thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # left by a process that was killed
        self._path = path
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("CREATE TABLE keys (key BLOB PRIMARY KEY) WITHOUT ROWID")

    def update(self, keys: Iterable[str]) -> None:
        """Add keys; those that are there already are fine."""
        self._database.execute("BEGIN")
        rows = ((key.encode(),) for key in keys)
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
        self._path.unlink(missing_ok=True)
