"""Parts: the rows of a fixed range of chunks, in the folder that users read. Create-only."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from shared import keys
from shared.errors import PermanentError
from shared.fields import Frozen
from shared.job import EngineUsed, JobSpec, ModelUsed
from shared.model import EngineName
from shared.rows import own_metadata
from shared.storage import ObjectMissing, Store
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
    for count in counts:
        add_failures(found, count)
    return sorted(found.values(), key=lambda kind: (-kind.count, kind.code))


def add_failures(found: dict[str, FailureCount], new: FailureCount) -> None:
    """Add to what was found before, by error code."""
    old = found.setdefault(new.code, new)
    if old is not new:
        found[new.code] = old.model_copy(update={"count": old.count + new.count})


def _bad_part(where: str, problem: str) -> PermanentError:
    return PermanentError(
        "bad_part", f"{where} {problem}.", "Choose another job id or another output folder."
    )
