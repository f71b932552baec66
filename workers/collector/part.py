"""Parts: the rows of a fixed range of chunks, in the folder that users read. Create-only."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shared import keys
from shared.errors import PermanentError
from shared.fields import Frozen
from shared.job import EngineUsed, JobSpec, ModelUsed
from shared.model import EngineName
from shared.rows import own_metadata, rows_schema, to_parquet
from shared.storage import ObjectMissing, Store
from workers.collector import durations
from workers.collector.chunk_file import ChunkFile
from workers.collector.durations import Durations


class EngineShare(EngineUsed):
    """An engine that served ``images`` images."""

    engine: EngineName
    images: int


class ModelShare(ModelUsed):
    """An analysis by a model, and of how many images it was computed so."""

    images: int

    @property
    def used(self) -> ModelUsed:
        """Without the number of images."""
        return ModelUsed(**self.model_dump(exclude={"images"}))


class FailureCount(Frozen):
    """How many images failed with one error code, and the first of them."""

    code: str
    count: int
    key: str
    message: str


class PartFooter(Frozen):
    """What a part says about itself: the chunks ``[first_chunk, end_chunk)`` and their sums.

    ``chunks`` is how many of them it holds: in a cancelled job not all. ``input_bytes`` is the
    listed size of its images. ``engines`` are of the short form; ``models`` says in every form how
    often what computed each analysis by a model. ``device_runs`` has a triple for each chunk that
    reached a device: the Unix times between which it was there, and its share of that in seconds.
    """

    job_uid: str
    first_chunk: int
    end_chunk: int
    chunks: int
    rows: int
    succeeded: int
    failed: int
    input_bytes: int
    durations: Durations
    engines: tuple[EngineShare, ...]
    device_runs: tuple[tuple[float, float, float], ...] = ()
    failures: tuple[FailureCount, ...] = ()
    models: tuple[ModelShare, ...] = ()

    def metadata(self) -> dict[str, str]:
        """As ``shared.rows.to_parquet`` takes it: each field as JSON under its name."""
        return {name: json.dumps(value) for name, value in self.model_dump(mode="json").items()}

    @classmethod
    def of_metadata(cls, metadata: dict[str, str]) -> PartFooter:
        """As ``shared.rows`` gives it. Raises ValueError for another file's."""
        return cls.model_validate({name: json.loads(value) for name, value in metadata.items()})


@dataclass(frozen=True, slots=True)
class Part:
    """A part as it was read back from the bucket; ``size_bytes`` is that of the object."""

    number: int
    size_bytes: int
    footer: PartFooter


def encode_part(spec: JobSpec, first: int, end: int, files: list[ChunkFile]) -> bytes:
    """The part of chunks ``[first, end)`` from those of its chunk files that there are."""
    empty = rows_schema(spec.pipeline).empty_table()
    rows = pa.concat_tables([empty, *(file.rows for file in files)])
    succeeded = pc.sum(pc.equal(rows["status"], "ok")).as_py() or 0
    footer = PartFooter(
        job_uid=spec.job_uid,
        first_chunk=first,
        end_chunk=end,
        chunks=len(files),
        rows=rows.num_rows,
        succeeded=succeeded,
        failed=rows.num_rows - succeeded,
        input_bytes=pc.sum(rows["size"]).as_py() or 0,
        durations=durations.total(file.footer.timings for file in files),
        engines=_engines_of(files) if spec.pipeline.form == "short" else (),
        device_runs=_device_runs_of(files),
        failures=_failures_of(rows),
        models=_models_of(spec, files),
    )
    return to_parquet(rows, footer.metadata())


def read_part(store: Store, spec: JobSpec, number: int, first: int, end: int) -> Part | None:
    """Part ``number`` as it stands; None where there is none.

    Raises PermanentError ``bad_part`` unless it holds chunks ``[first, end)`` of this very job.
    """
    key = keys.part_key(spec, number)
    try:
        data = store.get(spec.output_bucket, key)
    except ObjectMissing:
        return None
    where = f"s3://{spec.output_bucket}/{key}"
    try:
        parquet = pq.read_metadata(io.BytesIO(data))
        footer = PartFooter.of_metadata(own_metadata(parquet.metadata))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _bad_part(where, "cannot be read") from error
    if footer.job_uid != spec.job_uid:
        raise _bad_part(where, "belongs to another job of this name")
    if (footer.first_chunk, footer.end_chunk, footer.rows) != (first, end, parquet.num_rows):
        raise _bad_part(where, "does not hold the rows that it should")
    return Part(number, len(data), footer)


def total_engines(uses: Iterable[EngineShare]) -> tuple[EngineShare, ...]:
    """Each engine once, the one with most images first."""
    images: Counter[EngineUsed] = Counter()
    for use in uses:
        images[EngineUsed(**use.engine_fields())] += use.images
    return tuple(
        EngineShare(**engine.engine_fields(), images=count)
        for engine, count in images.most_common()
    )


def total_models(uses: Iterable[ModelShare]) -> tuple[ModelShare, ...]:
    """Each analysis once for each engine that computed it, the one with most images first."""
    images: Counter[ModelUsed] = Counter()
    for use in uses:
        images[use.used] += use.images
    return tuple(
        ModelShare(**used.model_dump(), images=count) for used, count in images.most_common()
    )


def total_failures(counts: Iterable[FailureCount]) -> list[FailureCount]:
    """Each error code once, with its first example, the most frequent first."""
    found: dict[str, FailureCount] = {}
    for new in counts:
        old = found.setdefault(new.code, new)
        if old is not new:
            found[new.code] = old.model_copy(update={"count": old.count + new.count})
    return sorted(found.values(), key=lambda kind: (-kind.count, kind.code))


def _failures_of(rows: pa.Table) -> tuple[FailureCount, ...]:
    failed = rows.filter(pc.equal(rows["status"], "failed"))
    codes, found = failed["error_code"], []
    for code, count in (entry.values() for entry in pc.value_counts(codes).to_pylist()):
        first = failed.slice(pc.index(codes, code).as_py(), 1).to_pylist()[0]
        message = first["error_message"] or ""
        found.append(FailureCount(code=code, count=count, key=first["key"], message=message))
    return tuple(found)


def _engines_of(files: list[ChunkFile]) -> tuple[EngineShare, ...]:
    footers = [file.footer for file in files]
    return total_engines(
        EngineShare(**used.engine_fields(), images=footer.succeeded)
        for footer in footers
        for used in footer.computed.values()
        if used is not None and used.engine is not None
    )


def _models_of(spec: JobSpec, files: list[ChunkFile]) -> tuple[ModelShare, ...]:
    return total_models(
        ModelShare.of(spec.pipeline, name, used, images=file.footer.succeeded)
        for file in files
        for name, used in file.footer.computed.items()
        if used is not None and used.engine is not None
    )


def _device_runs_of(files: list[ChunkFile]) -> tuple[tuple[float, float, float], ...]:
    timings = [file.footer.timings for file in files]
    return tuple(
        (round(t.device_started_at, 6), round(t.device_ended_at, 6), round(t.device_seconds, 6))
        for t in timings
        if t.device_ended_at
    )


def _bad_part(where: str, problem: str) -> PermanentError:
    return PermanentError(
        "bad_part", f"{where} {problem}.", "Choose another job id or another output folder."
    )
