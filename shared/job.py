"""A job's own documents in the state bucket: spec, seal, cancellation, closing."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, Field, ValidationError, model_validator
from pydantic_core import from_json

from shared.fields import Frozen
from shared.limits import MAX_CHUNK_ITEMS
from shared.model import EngineName, Precision
from shared.pipeline import Pipeline
from shared.stages import QueueInfo, queue_name

JobId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
# Globs over whole keys.
Patterns = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...], Field(max_length=100)
]
# Below so many rows a percentage of failures says little.
MIN_ROWS_FOR_PERCENT = 100
SPEC_VERSION = 5

# Why a job failed: no image succeeded; more images failed than ``max_errors`` allows; or it could
# not be run to its end, which also one is not whose model fails after some images succeeded.
FailureReason = Literal["no_success", "too_many_errors", "not_closed"]


class MaxErrors(Frozen):
    """How many images may fail before the job does: a number, or a percentage of its rows.

    Exactly one is set. The percentage counts from ``MIN_ROWS_FOR_PERCENT`` rows on.
    """

    images: int | None = Field(default=None, ge=0)
    percent: float | None = Field(default=None, ge=0, le=100, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_of_both(self) -> MaxErrors:
        if (self.images is None) == (self.percent is None):
            raise ValueError("exactly one of images and percent is needed")
        return self

    def __str__(self) -> str:
        if self.images is not None:
            return f"{self.images:,}"
        digits = f"{Decimal(repr(self.percent)):f}"  # never as 1e-06, and not rounded
        return f"{digits.rstrip('0').rstrip('.') if '.' in digits else digits}%"

    def exceeded(self, *, succeeded: int, failed: int) -> bool:
        """Did more images fail than may?"""
        if self.images is not None:
            return failed > self.images
        assert self.percent is not None
        rows = succeeded + failed
        return rows >= MIN_ROWS_FOR_PERCENT and failed * 100 > self.percent * rows


class JobSpec(Frozen):
    """Everything that decides a job's outcome; written once, by ``enqueue``.

    ``pipeline_given`` is what ``--pipeline`` named, a file by its absolute path: ``retry --update``
    looks there again. It decides nothing else.
    """

    version: Literal[5] = 5
    job_id: JobId
    job_uid: str = Field(default_factory=lambda: secrets.token_hex(8), pattern=r"^[0-9a-f]{16}$")
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    bucket: str = Field(max_length=63)
    prefix: str = Field(default="", max_length=1024)
    include: Patterns = ()
    exclude: Patterns = ()
    limit: int | None = Field(default=None, ge=1)
    max_errors: MaxErrors | None = None
    retry_of: JobId | None = None
    chunk_items: int = Field(default=64, ge=1, le=MAX_CHUNK_ITEMS)
    output_bucket: str = Field(max_length=63)
    output_prefix: str = Field(default="", max_length=900)
    pipeline: Pipeline
    pipeline_sha256: str
    pipeline_given: str = Field(default="", max_length=4096)
    headrace_version: str

    @property
    def first_queue(self) -> QueueInfo:
        """Where its chunks begin, and begin again when they are rescued."""
        first = self.pipeline.route[0]
        return QueueInfo(queue_name(first), first, "bulk")

    @property
    def first_chunk_items(self) -> int:
        """Of the first chunk: fewer, so that there are rows soon, however slow the model is."""
        return max(1, self.chunk_items // 4)

    def items_before(self, chunk: int) -> int:
        """How many items come before that chunk, where all chunks before it are full."""
        return self.first_chunk_items + (chunk - 1) * self.chunk_items if chunk else 0

    def failure(self, *, succeeded: int, failed: int) -> FailureReason | None:
        """Why a job with so many rows fails; None where they make it a success."""
        if not succeeded:
            return "no_success"
        limit = self.max_errors
        is_over = limit is not None and limit.exceeded(succeeded=succeeded, failed=failed)
        return "too_many_errors" if is_over else None

    def differences(self, other: JobSpec) -> list[str]:
        """The fields in which two specs ask for different work, as ``name: this -> that``."""
        own, theirs = _leaves(self._work()), _leaves(other._work())
        names = sorted(own.keys() | theirs.keys())
        return [
            f"{name}: {own.get(name)} -> {theirs.get(name)}"
            for name in names
            if own.get(name) != theirs.get(name)
        ]

    def _work(self) -> dict[str, Any]:
        incidental = {"job_uid", "created_at", "headrace_version", "pipeline_sha256"}
        return self.model_dump(mode="json", exclude={*incidental, "pipeline_given"})


class PastJob(BaseModel):
    """A job whose spec this version does not read: enough to name it and to find its rows.

    ``reason`` says in one line why, and what to do.
    """

    job_id: str
    created_at: AwareDatetime = datetime.fromtimestamp(0, UTC)
    pipeline: str = ""
    model: str = ""
    model_version: str = ""
    output_bucket: str = ""
    output_prefix: str = ""
    reason: str


def read_spec(job_id: str, data: bytes) -> JobSpec | PastJob:
    """A spec as it lies in the bucket; whatever is not one of this version is of the past."""
    try:
        return JobSpec.model_validate_json(data)
    except ValidationError:
        return _past_job(job_id, data)


def _past_job(job_id: str, data: bytes) -> PastJob:
    try:
        spec = _inner({"spec": from_json(data)}, "spec")
    except ValueError:
        spec = {}
    reason = "Its spec cannot be read. Enqueue it again."
    if spec and spec.get("version") != SPEC_VERSION:
        reason = (
            f"It was enqueued by Headrace {spec.get('headrace_version')}, whose specs have version "
            f"{spec.get('version')}, and this one runs version {SPEC_VERSION}. Enqueue it again; "
            "the rows that it has finished stay readable."
        )
    pipeline = _inner(spec, "pipeline")
    model = _inner(pipeline, "model")
    found = {
        **{name: spec.get(name) for name in ("created_at", "output_bucket", "output_prefix")},
        **{"pipeline": pipeline.get("name"), "model": model.get("name")},
        "model_version": model.get("sha256"),
    }
    texts = {name: value for name, value in found.items() if isinstance(value, str)}
    try:
        return PastJob.model_validate({**texts, "job_id": job_id, "reason": reason[:500]})
    except ValidationError:  # its time is none
        return PastJob(job_id=job_id, reason=reason[:500])


def _inner(values: dict[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def _leaves(values: dict[str, Any], parent: str = "") -> dict[str, Any]:
    """Nested fields under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        inner = _leaves(value, f"{parent}{name}.") if isinstance(value, dict) else None
        flat |= {f"{parent}{name}": value} if inner is None else inner
    return flat


class Accounting(Frozen):
    """Where every listed item ended. ``skipped`` (folder markers) is not among ``listed``."""

    listed: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    skipped: int = 0

    @property
    def rows(self) -> int:
        """How many items have a row."""
        return self.succeeded + self.failed

    @property
    def pending(self) -> int:
        """How many listed items have no end."""
        return self.listed - self.rows - self.cancelled

    @property
    def adds_up(self) -> bool:
        """Does every listed item have exactly one end?"""
        return self.pending == 0

    @classmethod
    def merged(cls, jobs: Sequence[Accounting]) -> Accounting:
        """The rows of the first job and its retries as one: each image counts as it ended last.

        All else is the first job's.
        """
        first, *retries = jobs
        fixed = sum(retry.succeeded for retry in retries)
        changes = {"succeeded": first.succeeded + fixed, "failed": max(0, first.failed - fixed)}
        return first.model_copy(update=changes)


class ComputedBy(Frozen):
    """What computed something; all null where nothing did.

    ``precision`` is null for a user's class, too.
    """

    engine: str | None = None
    precision: str | None = None
    device: str | None = None

    def engine_fields(self) -> dict[str, Any]:
        """These three fields, for another document about the same engine."""
        return {name: getattr(self, name) for name in ComputedBy.model_fields}


class EngineUsed(ComputedBy):
    """``ComputedBy`` with every field required, checked against today's engines."""

    engine: EngineName | None
    precision: Precision | None
    device: Annotated[str, Field(max_length=200)] | None


class ModelUsed(Frozen):
    """An analysis by a model, and what computed it: null where nothing did.

    ``version`` covers all that computes.
    """

    analysis: str
    model: str
    version: str
    engine: str | None = None
    precision: str | None = None
    device: str | None = None

    @classmethod
    def of(
        cls, pipeline: Pipeline, analysis: str, by: ComputedBy | None = None, **more: Any
    ) -> Self:
        """An analysis of that pipeline, computed by that. ``more``: a subclass's fields."""
        model, used = pipeline.model_of(analysis), by or ComputedBy()
        known = {"analysis": analysis, "model": model.name, "version": model.sha256}
        return cls(**known, **used.engine_fields(), **more)


class EngineChoice(EngineUsed):
    """What computes an analysis by a model on one machine, and why.

    In the state bucket it is the first device worker's choice for an analysis of a job, and its
    precision binds all others.
    """

    engine: EngineName
    device: str = Field(max_length=200)
    reason: str = Field(max_length=500)


class JobStop(Frozen):
    """Why a job ends before its last image, as failed: ``stop-UID.json``.

    ``reason`` says who stops it: a worker that finds that the job cannot be computed, or the
    producer, since more images fail than may.
    """

    error: str = Field(max_length=2000)
    reason: Literal["cannot_compute", "too_many_errors"] = "cannot_compute"
    stopped_at: datetime = Field(default_factory=lambda: datetime.now(UTC))


class Closing(ComputedBy):
    """``closed.json``: the end of a job, written once, after ``_SUCCESS``.

    ``engine``, ``precision`` and ``device`` are of the short form, and null in the long form;
    ``models`` says in both what computed each analysis by a model.
    ``reason`` is set where the job failed, and ``error`` says it in words.
    """

    state: Literal["succeeded", "failed", "cancelled"]
    reason: FailureReason | None = None
    accounting: Accounting
    seconds: float = 0.0
    device_busy: float | None = None
    error: str | None = None
    closed_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    models: tuple[ModelUsed, ...] = ()


def new_job_id(pipeline: str) -> str:
    """A readable id that sorts by time: ``classify-20261121-101502-3f9a``."""
    return f"{pipeline}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
