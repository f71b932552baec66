"""Chunk files: the result of one chunk in the state bucket. The first writer wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from shared import keys
from shared.errors import PermanentError
from shared.job import JobSpec
from shared.messages import Result, Timings
from shared.pipeline import EngineName, Precision
from shared.rows import SCHEMA, from_parquet, table_of, to_parquet
from shared.storage import ObjectMissing, Store
from workers.collector.footer import Footer


class ChunkFooter(Footer):
    """What a chunk file says about itself. ``engine`` is null where nothing reached a device."""

    job_uid: str
    chunk: int
    items: int
    succeeded: int
    failed: int
    engine: EngineName | None
    precision: Precision | None
    device: str | None
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
        engine=result.engine,
        precision=result.precision,
        device=result.device,
        timings=result.timings,
    )


def write_chunk_file(store: Store, state_bucket: str, result: Result) -> ChunkFooter:
    """Write the chunk file, unless there is one: that one stands. Raises the store's errors.

    Returns what would be written; a standing file may differ from it in what it counts.
    """
    footer = footer_of(result)
    data = to_parquet(table_of(result), footer.metadata())
    store.create(state_bucket, keys.chunk_key(result.job_id, result.chunk), data)
    return footer


def read_chunk_file(store: Store, state_bucket: str, spec: JobSpec, chunk: int) -> ChunkFile | None:
    """The chunk file that stands; None where there is none.

    Raises PermanentError ``bad_chunk_file``, which cannot come about through us.
    """
    key = keys.chunk_key(spec.job_id, chunk)
    try:
        data = store.get(state_bucket, key)
    except ObjectMissing:
        return None
    where = f"s3://{state_bucket}/{key}"
    try:
        table, metadata = from_parquet(data)
        file = ChunkFile(table.replace_schema_metadata(None), ChunkFooter.of_metadata(metadata))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise bad_chunk_file(where, "cannot be read") from error
    footer = file.footer
    if (footer.job_uid, footer.chunk) != (spec.job_uid, chunk):
        raise bad_chunk_file(where, "belongs to another job")
    if not table.schema.equals(SCHEMA) or table.num_rows != footer.items:
        raise bad_chunk_file(where, "does not hold what its footer says")
    return file


def bad_chunk_file(where: str, problem: str) -> PermanentError:
    """The error for a chunk file that nobody of us wrote so."""
    return PermanentError(
        "bad_chunk_file", f"{where} {problem}.", "Something else wrote to the state bucket."
    )
