"""Listing ahead: from a listing to manifest segments, without waiting for any queue."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from producer.listing import Listing
from shared import keys
from shared.errors import PermanentError, TransientError
from shared.job import JobSpec
from shared.manifest import Items, Seal, Segment, decode, encode_seal, encode_segment
from shared.messages import Item
from shared.patience import patiently
from shared.storage import ObjectMissing, Store

log = logging.getLogger(__name__)

SEGMENT_GROWTH = 4
LARGEST_SEGMENT_ITEMS = 65_536
FLUSH_SECONDS = 0.5


class ManifestTaken(Exception):
    """Somebody else wrote this segment: what we know of the manifest is wrong."""


class _Stopped(Exception):
    """The lister was told to stop."""


class Lister:
    """Writes one job's manifest, in a thread. It may die anywhere and be begun again by anybody.

    ``written``: how many segments stand, the seal not among them. ``error``: why the listing cannot
    be done at all.
    """

    def __init__(
        self, store: Store, state_bucket: str, spec: JobSpec, listing: Listing, scratch: Path
    ) -> None:
        self._store, self._bucket, self._spec = store, state_bucket, spec
        self._listing = listing
        self._scratch = scratch
        self._stopping = threading.Event()
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"list {spec.job_id}", daemon=True)
        self.written = 0
        self.sealed = False
        self.error: PermanentError | None = None

    def start(self) -> None:
        """Begin to list."""
        self._thread.start()

    def cancel(self) -> None:
        """Seal with what is listed."""
        self._cancelled.set()

    def stop(self) -> None:
        """Stop where it is; it can be begun again."""
        self._stopping.set()

    def join(self, timeout_seconds: float) -> None:
        """Wait for the thread."""
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        pause_seconds = 0.5
        while not self._stopping.is_set():
            try:
                self.list_all()
                return
            except ManifestTaken:
                log.info("%s: another producer lists it too; reading it again", self._spec.job_id)
            except TransientError as error:
                log.warning("%s: listing again in a while: %s", self._spec.job_id, error)
                self._stopping.wait(pause_seconds)
                pause_seconds = min(pause_seconds * 2, 30.0)
            except _Stopped:
                return
            except PermanentError as error:
                self.error = error
                return

    def list_all(self) -> None:
        """List from where the manifest ends to the seal. Raises the store's errors."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        path = self._scratch / f"{self._spec.job_uid}.sqlite"
        path.unlink(missing_ok=True)
        try:
            with closing(sqlite3.connect(path)) as database:
                self._list_with(_SeenKeys(database))
        finally:
            path.unlink(missing_ok=True)

    def _list_with(self, seen: _SeenKeys) -> None:
        manifest = self._resume(seen)
        if manifest is None:
            self.sealed = True
            return
        for item in self._new_items(seen, manifest):
            manifest.pending.append(item)
            if manifest.is_due():
                self._write_segment(manifest)
        cancelled = self._cancelled.is_set()
        if manifest.pending and not cancelled:
            self._write_segment(manifest, everything=True)
        seal = Seal(
            chunks=manifest.next_chunk,
            listed=manifest.listed,
            total_bytes=manifest.total_bytes,
            skipped=self._listing.skipped,
            cancelled=cancelled,
        )
        self._create(manifest.next_number, encode_seal(seal))
        self.sealed = True
        log.info("%s: sealed, %d items in %d chunks", self._spec.job_id, seal.listed, seal.chunks)

    def _resume(self, seen: _SeenKeys) -> _Growing | None:
        """What the bucket holds of the manifest; None where it is sealed."""
        manifest = _Growing(self._spec.chunk_items)
        while True:
            self._check_stopping()
            key = keys.segment_key(self._spec.job_id, manifest.next_number)
            try:
                part = decode(self._store.get(self._bucket, key))
            except ObjectMissing:
                return manifest
            if isinstance(part, Seal):
                self.written = manifest.next_number
                return None
            seen.add(item.key for items in part.chunks for item in items)
            manifest.count(part)
            self.written = manifest.next_number

    def _new_items(self, seen: _SeenKeys, manifest: _Growing) -> Iterator[Item]:
        limit = self._spec.limit
        remaining = None if limit is None else limit - manifest.listed
        if remaining is not None and remaining <= 0:
            return
        for item in self._listing:
            self._check_stopping()
            if self._cancelled.is_set():
                return
            if item.key in seen:
                continue
            yield item
            if remaining is not None:
                remaining -= 1
                if remaining == 0:
                    return

    def _write_segment(self, manifest: _Growing, *, everything: bool = False) -> None:
        segment = manifest.take(everything=everything)
        self._create(manifest.next_number, encode_segment(segment))
        manifest.count(segment)
        self.written = manifest.next_number

    def _create(self, number: int, data: bytes) -> None:
        key = keys.segment_key(self._spec.job_id, number)
        if patiently(lambda: self._store.create(self._bucket, key, data), stopping=self._stopping):
            return
        # Refused: by another producer, or by our own write whose answer was lost.
        if patiently(lambda: self._store.get(self._bucket, key), stopping=self._stopping) != data:
            raise ManifestTaken

    def _check_stopping(self) -> None:
        if self._stopping.is_set():
            raise _Stopped


class _Growing:
    """The manifest as far as it is written, and the items that wait for the next segment."""

    def __init__(self, chunk_items: int) -> None:
        self._chunk_items = chunk_items
        self._target_items = chunk_items  # the first segment is one chunk: its rows come early
        self._last_write = time.monotonic()
        self.next_number = self.next_chunk = self.listed = self.total_bytes = 0
        self.pending: list[Item] = []

    def is_due(self) -> bool:
        """Is there enough for a segment, or a whole chunk and a slow listing?"""
        if len(self.pending) >= self._target_items:
            return True
        waited = time.monotonic() - self._last_write
        return len(self.pending) >= self._chunk_items and waited > FLUSH_SECONDS

    def take(self, *, everything: bool) -> Segment:
        """The next segment of whole chunks, or of all that is pending."""
        size = self._chunk_items
        end = len(self.pending) if everything else len(self.pending) // size * size
        chunks: tuple[Items, ...] = tuple(
            tuple(self.pending[start : min(start + size, end)]) for start in range(0, end, size)
        )
        self.pending = self.pending[end:]
        self._target_items = min(self._target_items * SEGMENT_GROWTH, LARGEST_SEGMENT_ITEMS)
        self._last_write = time.monotonic()
        return Segment(self.next_chunk, chunks)

    def count(self, segment: Segment) -> None:
        """Note a segment that stands in the bucket."""
        self.next_number += 1
        self.next_chunk = segment.end_chunk
        self.listed += sum(len(items) for items in segment.chunks)
        self.total_bytes += sum(item.size for items in segment.chunks for item in items)


class _SeenKeys:
    """The keys that an earlier listing wrote down: on disk, for there may be a hundred million."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._empty = True
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("CREATE TABLE seen (key TEXT PRIMARY KEY) WITHOUT ROWID")

    def add(self, names: Iterator[str]) -> None:
        self._empty = False
        self._database.executemany(
            "INSERT OR IGNORE INTO seen VALUES (?)", ((name,) for name in names)
        )

    def __contains__(self, key: str) -> bool:
        if self._empty:
            return False
        row = self._database.execute("SELECT 1 FROM seen WHERE key = ?", (key,)).fetchone()
        return row is not None
