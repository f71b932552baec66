"""The manifest: which chunk has which items. Numbered segments in the bucket, then the seal.

A segment and the seal are both Parquet files of one series of keys, so that a producer that still
lists and one that seals contend for a number. Nobody reads past the seal.
"""

from __future__ import annotations

import bisect
import json
import threading
from collections import OrderedDict
from dataclasses import asdict, dataclass
from itertools import chain

import numpy as np
import pyarrow as pa

from shared import keys, parquet
from shared.errors import PermanentError
from shared.item import Item
from shared.storage import ObjectMissing, Store

Items = tuple[Item, ...]

_SCHEMA = pa.schema(
    [
        pa.field("chunk", pa.int32(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
    ]
)
_SEAL = b"headrace.seal"
_KEPT_SEGMENTS = 4


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive chunks from ``first_chunk`` on; each has at least one item."""

    first_chunk: int
    chunks: tuple[Items, ...]

    @property
    def end_chunk(self) -> int:
        """The chunk after the last."""
        return self.first_chunk + len(self.chunks)


@dataclass(frozen=True, slots=True)
class Seal:
    """The totals of a complete listing. ``skipped``: folder markers, which are not listed.

    ``cancelled``: the listing was cut short.
    """

    chunks: int
    listed: int
    total_bytes: int
    skipped: int
    cancelled: bool = False


def encode_segment(segment: Segment) -> bytes:
    """A segment as Parquet."""
    numbers = np.arange(segment.first_chunk, segment.end_chunk, dtype=np.int32)
    items = list(chain.from_iterable(segment.chunks))
    columns = [
        numbers.repeat([len(chunk) for chunk in segment.chunks]),
        [item.key for item in items],
        [item.etag for item in items],
        [item.size for item in items],
    ]
    return parquet.encode(pa.table(columns, schema=_SCHEMA))


def encode_seal(seal: Seal) -> bytes:
    """The seal as Parquet: no rows, its totals in the footer."""
    table = _SCHEMA.empty_table().replace_schema_metadata({_SEAL: json.dumps(asdict(seal))})
    return parquet.encode(table)


class _Page:
    """A segment as it is kept: its columns, a tenth of what its items take."""

    def __init__(self, table: pa.Table) -> None:
        self._columns = table.drop_columns(["chunk"])
        self._numbers = table["chunk"].to_numpy()  # ascending
        self.first_chunk = int(self._numbers[0])
        self.end_chunk = int(self._numbers[-1]) + 1

    def rows(self, chunk: int) -> pa.Table:
        first, end = np.searchsorted(self._numbers, (chunk, chunk + 1))
        return self._columns.slice(first, end - first)

    def items(self, chunk: int) -> Items:
        return tuple(Item(**row) for row in self.rows(chunk).to_pylist())

    def segment(self) -> Segment:
        return Segment(
            self.first_chunk, tuple(map(self.items, range(self.first_chunk, self.end_chunk)))
        )


def _decode(data: bytes) -> _Page | Seal:
    table = parquet.decode(data)
    metadata = table.schema.metadata or {}
    return Seal(**json.loads(metadata[_SEAL])) if _SEAL in metadata else _Page(table)


class ManifestReader:
    """Reads one job's manifest as it grows. Thread-safe; keeps a few segments in memory."""

    def __init__(self, store: Store, bucket: str, job_id: str) -> None:
        self._store, self._bucket, self._job_id = store, bucket, job_id
        self._lock = threading.RLock()
        self._first_chunks: list[int] = []  # by segment number, as far as read in order
        self._seal: Seal | None = None
        self._pages: OrderedDict[int, _Page] = OrderedDict()

    def part(self, number: int) -> Segment | Seal | None:
        """Segment or seal ``number``; None where it is not written, or past the seal."""
        part = self._part(number)
        return part.segment() if isinstance(part, _Page) else part

    def seal(self) -> Seal | None:
        """The seal, once it is written. Reads what is new since the last call."""
        with self._lock:
            while self._seal is None and self._part(len(self._first_chunks)) is not None:
                pass
            return self._seal

    def rows(self, chunk: int) -> pa.Table:
        """The items of any chunk, as a table of ``key``, ``etag`` and ``size``.

        Raises PermanentError where the manifest has no such chunk.
        """
        return self._page(chunk).rows(chunk)

    def _page(self, chunk: int) -> _Page:
        with self._lock:
            number = max(0, bisect.bisect_right(self._first_chunks, chunk) - 1)
            while isinstance(page := self._part(number), _Page):
                if page.first_chunk <= chunk < page.end_chunk:
                    return page
                number += 1
        raise PermanentError(
            "no_such_chunk", f"The manifest of the job '{self._job_id}' has no chunk {chunk}."
        )

    def _part(self, number: int) -> _Page | Seal | None:
        with self._lock:
            if self._seal is not None and number >= len(self._first_chunks):
                return self._seal if number == len(self._first_chunks) else None
            if number in self._pages:
                self._pages.move_to_end(number)
                return self._pages[number]
            try:
                data = self._store.get(self._bucket, keys.segment_key(self._job_id, number))
            except ObjectMissing:
                return None
            part = _decode(data)
            self._remember(number, part)
            return part

    def _remember(self, number: int, part: _Page | Seal) -> None:
        is_next = number == len(self._first_chunks)
        if isinstance(part, Seal):
            self._seal = part if is_next else self._seal
            return
        if is_next:
            self._first_chunks.append(part.first_chunk)
        self._pages[number] = part
        while len(self._pages) > _KEPT_SEGMENTS:
            self._pages.popitem(last=False)
