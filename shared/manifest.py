"""The manifest: which chunk has which items. Numbered segments in the bucket, then the seal.

A segment and the seal are both Parquet files of one series of keys, so that a producer that still
lists and one that seals contend for a number. Nobody reads past the seal.
"""

from __future__ import annotations

import bisect
import io
import json
import threading
from collections import OrderedDict
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from shared import keys
from shared.errors import PermanentError
from shared.messages import Item
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
_CACHED_SEGMENTS = 4


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
    """The totals of a complete listing. ``skipped``: folder markers, which are not listed."""

    chunks: int
    listed: int
    total_bytes: int
    skipped: int
    cancelled: bool = False


def encode_segment(segment: Segment) -> bytes:
    """A segment as Parquet."""
    rows = [
        (segment.first_chunk + offset, item.key, item.etag, item.size)
        for offset, items in enumerate(segment.chunks)
        for item in items
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    return _to_parquet(pa.table(columns, schema=_SCHEMA))


def encode_seal(seal: Seal) -> bytes:
    """The seal as Parquet: no rows, its totals in the footer."""
    table = _SCHEMA.empty_table().replace_schema_metadata({_SEAL: json.dumps(asdict(seal))})
    return _to_parquet(table)


def decode(data: bytes) -> Segment | Seal:
    """What ``encode_segment`` or ``encode_seal`` made."""
    table = pq.read_table(io.BytesIO(data))
    metadata = table.schema.metadata or {}
    if _SEAL in metadata:
        return Seal(**json.loads(metadata[_SEAL]))
    numbers, names, etags, sizes = (column.to_pylist() for column in table.columns)
    chunks: dict[int, list[Item]] = {}
    for number, key, etag, size in zip(numbers, names, etags, sizes, strict=True):
        chunks.setdefault(number, []).append(Item(key=key, etag=etag, size=size))
    return Segment(numbers[0], tuple(map(tuple, chunks.values())))


def _to_parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


class ManifestReader:
    """Reads one job's manifest as it grows. Thread-safe; keeps a few segments in memory."""

    def __init__(self, store: Store, bucket: str, job_id: str) -> None:
        self._store, self._bucket, self._job_id = store, bucket, job_id
        self._lock = threading.RLock()
        self._first_chunks: list[int] = []  # by segment number, as far as read
        self._seal: Seal | None = None
        self._cache: OrderedDict[int, Segment] = OrderedDict()

    def part(self, number: int) -> Segment | Seal | None:
        """Segment or seal ``number``; None where it is not written yet."""
        with self._lock:
            if number in self._cache:
                self._cache.move_to_end(number)
                return self._cache[number]
            if self._seal is not None and number == len(self._first_chunks):
                return self._seal
            try:
                part = decode(self._store.get(self._bucket, keys.segment_key(self._job_id, number)))
            except ObjectMissing:
                return None
            self._remember(number, part)
            return part

    def seal(self) -> Seal | None:
        """The seal, once it is written. Reads what is new since the last call."""
        with self._lock:
            while self._seal is None and self.part(len(self._first_chunks)) is not None:
                pass
            return self._seal

    def items(self, chunk: int) -> Items:
        """The items of any chunk. Raises PermanentError where the manifest has none such."""
        with self._lock:
            number = bisect.bisect_right(self._first_chunks, chunk) - 1
            segment = self.part(number) if number >= 0 else None
            while not isinstance(segment, Segment) or chunk >= segment.end_chunk:
                number += 1
                segment = self.part(number)
                if not isinstance(segment, Segment):
                    raise PermanentError(
                        "no_such_chunk", f"Job {self._job_id} has no chunk {chunk} in its manifest."
                    )
            return segment.chunks[chunk - segment.first_chunk]

    def _remember(self, number: int, part: Segment | Seal) -> None:
        if isinstance(part, Seal):
            if number == len(self._first_chunks):
                self._seal = part
            return
        if number == len(self._first_chunks):
            self._first_chunks.append(part.first_chunk)
        self._cache[number] = part
        while len(self._cache) > _CACHED_SEGMENTS:
            self._cache.popitem(last=False)
