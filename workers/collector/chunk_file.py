"""Chunk files: the answers of one chunk in the state bucket. The first writer wins.

A file is its footer, a line of JSON, and the answers as an Arrow stream. Its rows are made when it
is read, from the answers and from what the manifest lists.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from shared import keys, record_batches
from shared.answers import answer_schema
from shared.errors import PermanentError
from shared.fields import Frozen
from shared.job import EngineUsed, JobSpec
from shared.job_store import JobStore
from shared.manifest import ManifestReader
from shared.messages import Result, Seconds, Timings
from shared.pipeline import AnalysisName, Pipeline
from shared.rows import table_of
from shared.storage import ObjectMissing, Store

# Of answers that wait for the rest of their part. What was written before is read from the bucket.
MEMORY_BYTES = 64 * 2**20
# Jobs whose manifests are kept open, each with a few segments of about 1 MB.
OPEN_JOBS = 16


class NotListed(Exception):
    """A result is not about what the manifest lists for its chunk, or not by its job's pipeline."""


class ChunkFooter(Frozen):
    """What a chunk file says about itself. ``computed`` and ``scored_at`` are the result's."""

    job_uid: str
    chunk: int
    items: int
    succeeded: int
    failed: int
    computed: dict[AnalysisName, EngineUsed | None]
    scored_at: Seconds
    timings: Timings


@dataclass(frozen=True, slots=True)
class ChunkFile:
    """Rows of the pipeline's columns in the order of the manifest, and the file's footer."""

    rows: Any
    footer: ChunkFooter


@dataclass(frozen=True, slots=True)
class _Answers:
    """What is written, as ``table_of`` takes it."""

    job_id: str
    bucket: str
    pipeline: Pipeline
    answers: Any
    footer: ChunkFooter

    @property
    def computed(self) -> dict[str, EngineUsed | None]:
        return self.footer.computed

    @property
    def scored_at(self) -> float:
        return self.footer.scored_at


class _OpenJob:
    """A job's manifest and, once it is asked for, its pipeline."""

    def __init__(self, jobs: JobStore, job_id: str) -> None:
        self.manifest = ManifestReader(jobs.store, jobs.bucket, job_id)
        self._jobs, self._job_id = jobs, job_id

    @cached_property
    def pipeline(self) -> Pipeline:
        """That of the job's spec. Raises PermanentError where that cannot be run."""
        return self._jobs.spec(self._job_id).pipeline


def footer_of(result: Result) -> ChunkFooter:
    """What the chunk file of a result says about it."""
    items, succeeded = len(result.answers), result.answers["error_code"].null_count
    return ChunkFooter(
        job_uid=result.job_uid,
        chunk=result.chunk,
        items=items,
        succeeded=succeeded,
        failed=items - succeeded,
        computed=result.computed,
        scored_at=result.scored_at,
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
        self._written: dict[str, _Answers] = {}  # by key, the oldest first
        self._jobs = JobStore(store, state_bucket)
        self._open: OrderedDict[str, _OpenJob] = OrderedDict()  # by job uid
        self._lock = threading.Lock()

    def write(self, result: Result) -> ChunkFooter:
        """Write the chunk file, unless there is one: that one stands.

        Returns what would be written; an existing file may differ from it in what it counts.
        Raises NotListed.
        """
        self._require_listed(result)
        footer = footer_of(result)
        data = footer.model_dump_json().encode() + b"\n" + record_batches.encode(result.answers)
        key = keys.chunk_key(result.job_id, result.chunk)
        if self._store.create(self._bucket, key, data):
            known = result.job_id, result.bucket, result.pipeline, result.answers, footer
            self._remember(key, _Answers(*known))
        return footer

    def read(self, spec: JobSpec, chunk: int) -> ChunkFile | None:
        """The chunk file that stands; None where there is none.

        Raises PermanentError ``bad_chunk_file``, which cannot come about through us, and
        ``no_such_chunk``.
        """
        key = keys.chunk_key(spec.job_id, chunk)
        file = self._recall(key)
        if file is None or file.footer.job_uid != spec.job_uid:
            try:
                file = _decoded(self._store.get(self._bucket, key), spec, self.url(key))
            except ObjectMissing:
                return None
        footer = file.footer
        if (footer.job_uid, footer.chunk) != (spec.job_uid, chunk):
            raise bad_chunk_file(self.url(key), "belongs to another job")
        if len(file.answers) != footer.items:
            raise bad_chunk_file(self.url(key), "does not hold what its footer says")
        listed = self._job(spec.job_id, spec.job_uid).manifest.rows(chunk)
        if listed.num_rows != footer.items:
            raise bad_chunk_file(self.url(key), "is not of its manifest")
        return ChunkFile(table_of(file, listed), footer)

    def numbers(self, job_id: str) -> set[int]:
        """The chunks of which there is a file."""
        found = self._store.list(self._bucket, keys.chunks_prefix(job_id))
        return {keys.chunk_of_key(info.key) for info in found}

    def url(self, key: str) -> str:
        """For errors."""
        return f"s3://{self._bucket}/{key}"

    def _require_listed(self, result: Result) -> None:
        job, answers = self._job(result.job_id, result.job_uid), len(result.answers)
        try:
            listed = job.manifest.rows(result.chunk).num_rows
            is_of_job = job.pipeline == result.pipeline
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise NotListed(f"The job's spec or manifest cannot be read: {error}") from error
        except PermanentError as error:
            raise NotListed(str(error)) from error
        if listed != answers:
            raise NotListed(f"There are {answers} answers, and the manifest lists {listed} items.")
        if not is_of_job:
            raise NotListed("Its pipeline is not that of the job's spec.")

    def _job(self, job_id: str, job_uid: str) -> _OpenJob:
        with self._lock:
            found = self._open.pop(job_uid, None)
            job = self._open[job_uid] = found or _OpenJob(self._jobs, job_id)
            if len(self._open) > OPEN_JOBS:
                self._open.popitem(last=False)
            return job

    def _remember(self, key: str, file: _Answers) -> None:
        with self._lock:
            self._written[key] = file
            self._room_bytes -= file.answers.nbytes
            while self._room_bytes < 0:
                self._forget(next(iter(self._written)))

    def _recall(self, key: str) -> _Answers | None:
        """What was written; it is read once, for its part."""
        with self._lock:
            return self._forget(key) if key in self._written else None

    def _forget(self, key: str) -> _Answers:
        file = self._written.pop(key)
        self._room_bytes += file.answers.nbytes
        return file


def _decoded(data: bytes, spec: JobSpec, where: str) -> _Answers:
    pipeline = spec.pipeline
    line, _, body = data.partition(b"\n")
    try:
        footer = ChunkFooter.model_validate_json(line)
        answers = record_batches.decode(body, answer_schema(pipeline, pipeline.route[-2]))
        if footer.computed.keys() != pipeline.network_analyses.keys():
            raise ValueError("computed names other analyses")
    except ValueError as error:
        raise bad_chunk_file(where, "cannot be read") from error
    return _Answers(spec.job_id, spec.bucket, pipeline, answers, footer)


def bad_chunk_file(where: str, problem: str) -> PermanentError:
    """The error for a chunk file that nobody of us wrote so."""
    return PermanentError(
        "bad_chunk_file", f"{where} {problem}.", "Something else wrote to the state bucket."
    )
