"""Making a part from chunk files as they come, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from shared.job import JobSpec
from shared.rows import rows_schema, to_parquet
from workers.collector import durations
from workers.collector.chunk_file import ChunkFile, ChunkFooter
from workers.collector.part import (
    EngineShare,
    FailureCount,
    ModelShare,
    PartFooter,
    add_failures,
    total_engines,
    total_models,
)

# Of rows in Arrow. The largest part of a usual job, 32,768 rows of classes, takes 20 MiB.
ROW_GROUP_BYTES = 32 * 2**20


def encode_part(spec: JobSpec, first: int, end: int, files: Iterable[ChunkFile]) -> bytes:
    """The part of chunks ``[first, end)`` from those of its chunk files that there are.

    It holds the rows of one row group at a time, and the packed ones.
    """
    schema, sums = rows_schema(spec.pipeline), _Sums()
    groups = _row_groups(schema.empty_table(), sums.noted(files))
    return to_parquet(
        map(sums.counted, groups), schema, lambda: sums.footer(spec, first, end).metadata()
    )


def _row_groups(empty: pa.Table, files: Iterable[ChunkFile]) -> Iterator[pa.Table]:
    """Tables of whole chunks; at least one."""
    tables, taken = [empty], 0
    for file in files:
        if taken >= ROW_GROUP_BYTES:
            yield pa.concat_tables(tables)
            tables, taken = [], 0
        tables.append(file.rows)
        taken += file.rows.nbytes
    yield pa.concat_tables(tables)


class _Sums:
    """What a part's footer says, from what has passed so far."""

    def __init__(self) -> None:
        self._footers: list[ChunkFooter] = []
        self._failures: dict[str, FailureCount] = {}
        self._rows = self._succeeded = self._input_bytes = 0

    def noted(self, files: Iterable[ChunkFile]) -> Iterator[ChunkFile]:
        """The files, of which the footers are kept."""
        for file in files:
            self._footers.append(file.footer)
            yield file

    def counted(self, rows: pa.Table) -> pa.Table:
        """The rows, with what is in them added to the sums."""
        self._rows += rows.num_rows
        self._succeeded += pc.sum(pc.equal(rows["status"], "ok")).as_py() or 0
        self._input_bytes += pc.sum(rows["size"]).as_py() or 0
        for failure in _failures_of(rows):
            add_failures(self._failures, failure)
        return rows

    def footer(self, spec: JobSpec, first: int, end: int) -> PartFooter:
        """Of the part, once all has passed."""
        return PartFooter(
            job_uid=spec.job_uid,
            first_chunk=first,
            end_chunk=end,
            chunks=len(self._footers),
            rows=self._rows,
            succeeded=self._succeeded,
            failed=self._rows - self._succeeded,
            input_bytes=self._input_bytes,
            durations=durations.total(footer.timings for footer in self._footers),
            engines=_engines_of(self._footers) if spec.pipeline.form == "short" else (),
            device_runs=_device_runs_of(self._footers),
            failures=tuple(self._failures.values()),
            models=_models_of(spec, self._footers),
        )


def _failures_of(rows: pa.Table) -> Iterator[FailureCount]:
    failed = rows.filter(pc.equal(rows["status"], "failed"))
    codes = failed["error_code"]
    for code, count in (entry.values() for entry in pc.value_counts(codes).to_pylist()):
        first = failed.slice(pc.index(codes, code).as_py(), 1).to_pylist()[0]
        message = first["error_message"] or ""
        yield FailureCount(code=code, count=count, key=first["key"], message=message)


def _engines_of(footers: list[ChunkFooter]) -> tuple[EngineShare, ...]:
    return total_engines(
        EngineShare(**used.engine_fields(), images=footer.succeeded)
        for footer in footers
        for used in footer.computed.values()
        if used is not None and used.engine is not None
    )


def _models_of(spec: JobSpec, footers: list[ChunkFooter]) -> tuple[ModelShare, ...]:
    return total_models(
        ModelShare.of(spec.pipeline, name, used, images=footer.succeeded)
        for footer in footers
        for name, used in footer.computed.items()
        if used is not None and used.engine is not None
    )


def _device_runs_of(footers: list[ChunkFooter]) -> tuple[tuple[float, float, float], ...]:
    timings = [footer.timings for footer in footers]
    return tuple(
        (round(t.device_started_at, 6), round(t.device_ended_at, 6), round(t.device_seconds, 6))
        for t in timings
        if t.device_ended_at
    )
