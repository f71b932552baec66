"""Chunk files: the result of one chunk in the state bucket. The first writer wins."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa

from shared import keys
from shared.errors import PermanentError
from shared.fields import Frozen
from shared.job import EngineUsed, JobSpec
from shared.messages import Result, Timings
from shared.rows import SCHEMA, from_parquet, table_of, to_parquet
from shared.storage import ObjectMissing, Store

# Of rows that wait for the rest of their part. What was written before is read from the bucket.
MEMORY_BYTES = 64 * 2**20


class Footer(Frozen):
    """What a chunk file or a part says about itself: each field as JSON under its name."""

    def metadata(self) -> dict[str, str]:
        """As ``shared.rows.to_parquet`` takes it."""
        return {name: json.dumps(value) for name, value in self.model_dump(mode="json").items()}

    @classmethod
    def of_metadata(cls, metadata: dict[str, str]) -> Self:
        """As ``shared.rows`` gives it. Raises ValueError for another file's."""
        return cls.model_validate({name: json.loads(value) for name, value in metadata.items()})


class ChunkFooter(EngineUsed, Footer):
    """What a chunk file says about itself. ``engine`` is null where nothing reached a device."""

    job_uid: str
    chunk: int
    items: int
    succeeded: int
    failed: int
    timings: Timings


@dataclass(frozen=True, slots=True)
class ChunkFile:
    """Rows of ``shared.rows.SCHEMA`` in the order of the manifest, and their footer."""

    rows: Any
    footer: ChunkFooter


def footer_of(result: Result) -> ChunkFooter:
    """What the chunk file of a result says about it."""
    failed = sum(item.failure is not None for item in result.items)
    return ChunkFooter(
        job_uid=result.job_uid,
        chunk=result.chunk,
        items=len(result.items),
        succeeded=len(result.items) - failed,
        failed=failed,
        **result.engine_fields(),
        timings=result.timings,
    )


class ChunkFiles:
    """All jobs' chunk files. Those that this process wrote lately are read from its memory.

    Safe to use from many threads. Methods raise the store's errors.
    """

    def __init__(self, store: Store, state_bucket: str, memory_bytes: int = MEMORY_BYTES) -> None:
        self._store = store
        self._bucket = state_bucket
        self._room_bytes = memory_bytes
        self._written: dict[str, ChunkFile] = {}  # by key, the oldest first
        self._lock = threading.Lock()

    def write(self, result: Result) -> ChunkFooter:
        """Write the chunk file, unless there is one: that one stands.

        Returns what would be written; an existing file may differ from it in what it counts.
        """
        file = ChunkFile(table_of(result), footer_of(result))
        data = to_parquet(file.rows, file.footer.metadata(), read_whole=True)
        key = keys.chunk_key(result.job_id, result.chunk)
        if self._store.create(self._bucket, key, data):
            self._remember(key, file)
        return file.footer

    def read(self, spec: JobSpec, chunk: int) -> ChunkFile | None:
        """The chunk file that stands; None where there is none.

        Raises PermanentError ``bad_chunk_file``, which cannot come about through us.
        """
        key = keys.chunk_key(spec.job_id, chunk)
        file = self._recall(key)
        if file is None or file.footer.job_uid != spec.job_uid:
            try:
                file = _decoded(self._store.get(self._bucket, key), self.url(key))
            except ObjectMissing:
                return None
        footer = file.footer
        if (footer.job_uid, footer.chunk) != (spec.job_uid, chunk):
            raise bad_chunk_file(self.url(key), "belongs to another job")
        if not file.rows.schema.equals(SCHEMA) or file.rows.num_rows != footer.items:
            raise bad_chunk_file(self.url(key), "does not hold what its footer says")
        return file

    def numbers(self, job_id: str) -> set[int]:
        """The chunks of which there is a file."""
        found = self._store.list(self._bucket, keys.chunks_prefix(job_id))
        return {keys.chunk_of_key(info.key) for info in found}

    def url(self, key: str) -> str:
        """For errors."""
        return f"s3://{self._bucket}/{key}"

    def _remember(self, key: str, file: ChunkFile) -> None:
        with self._lock:
            self._written[key] = file
            self._room_bytes -= file.rows.nbytes
            while self._room_bytes < 0:
                self._forget(next(iter(self._written)))

    def _recall(self, key: str) -> ChunkFile | None:
        """What was written; it is read once, for its part."""
        with self._lock:
            return self._forget(key) if key in self._written else None

    def _forget(self, key: str) -> ChunkFile:
        file = self._written.pop(key)
        self._room_bytes += file.rows.nbytes
        return file


def _decoded(data: bytes, where: str) -> ChunkFile:
    try:
        table, metadata = from_parquet(data)
        return ChunkFile(table.replace_schema_metadata(None), ChunkFooter.of_metadata(metadata))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise bad_chunk_file(where, "cannot be read") from error


def bad_chunk_file(where: str, problem: str) -> PermanentError:
    """The error for a chunk file that nobody of us wrote so."""
    return PermanentError(
        "bad_chunk_file", f"{where} {problem}.", "Something else wrote to the state bucket."
    )
