"""What is known of a job: from its closing, or else from its manifest and the ledger's hints."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from producer import Warn
from producer.connections import Connections
from shared.errors import TransientError
from shared.job import (
    Accounting,
    Closing,
    ComputedBy,
    EngineChoice,
    FailureReason,
    JobSpec,
    ModelUsed,
    PastJob,
)
from shared.keys import manifest_prefix, output_root
from shared.ledger import JobProgress

if TYPE_CHECKING:
    from shared.manifest import Seal

State = Literal["listing", "running", "succeeded", "failed", "cancelled"]
_ENGINE = tuple(ComputedBy.model_fields)
# Fields that a closing has, too, and those that are null until they are known.
_IN_CLOSING = {*_ENGINE, "seconds", "device_busy", "reason", "error"}
_NULL_AT_FIRST = (*_ENGINE, "images_per_second", "device_busy", "seconds", "error")


class ImageCounts(BaseModel):
    """How many images are where; null where the ledger does not answer."""

    listed: int
    succeeded: int | None
    failed: int | None
    pending: int | None
    cancelled: int

    @classmethod
    def of(cls, counts: Accounting) -> ImageCounts:
        """With all known."""
        values = {name: getattr(counts, name) for name in cls.model_fields}
        return cls(**values)


class ModelStatus(ModelUsed):
    """An analysis by a model, and why that engine and precision were taken."""

    reason: str | None = None


class JobStatus(BaseModel):
    """A job as ``status`` shows it, and where it was retried, as its retries have left it.

    ``reason`` says why a job failed, and ``error`` says it in words; ``engine_reason``, why that
    engine and precision were taken.

    ``model_version`` covers all that computes; ``code_sha256`` is of a class's packed code, null
    for weights. These, ``model`` and ``engine`` to ``device`` are of the short form, and null in
    the long form; ``models`` says it in both for each analysis by a model.

    ``device_busy`` is a share from 0 to 1; ``skipped`` counts folder markers, which are not listed.
    ``warnings``: what stands still, each with what to do; after ``wait``, what stood still.
    """

    job_id: str
    pipeline: str
    model: str | None
    model_version: str | None
    engine: str | None
    precision: str | None
    device: str | None
    state: State
    images: ImageCounts
    images_per_second: float | None
    device_busy: float | None
    seconds: float | None
    created_at: datetime
    output: str
    error: str | None
    skipped: int = 0
    reason: FailureReason | None = None
    engine_reason: str | None = None
    code_sha256: str | None = None
    warnings: list[str] = Field(default_factory=list)
    models: list[ModelStatus] = Field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will change."""
        return self.state not in ("listing", "running")


class JobWatch:
    """Looks at one job again and again; each look costs a few requests."""

    def __init__(self, connections: Connections, spec: JobSpec, warn: Warn) -> None:
        self.spec = spec
        self._connections = connections
        self._warn = warn
        self._listing = _Listing(connections, spec)
        self._engines: dict[str, EngineChoice] = {}  # by analysis

    def look(self) -> JobStatus:
        """What is known now. Raises the store's errors."""
        closing = self._connections.jobs.closing(self.spec.job_id)
        status = self._open() if closing is None else _closed(self.spec, closing)
        self._add_engines(status)
        if closing is not None:
            _add_retries(self._connections, self.spec, status, self._warn)
        return status

    def _add_engines(self, status: JobStatus) -> None:
        """Why which engine; while the job runs, what it was settled on."""
        for number, model in enumerate(status.models):
            choice = self._engine_of(model.analysis)
            if choice is not None:
                used = {} if status.has_ended else choice.engine_fields()
                changes = {**used, "reason": choice.reason}
                status.models[number] = model.model_copy(update=changes)
        if self.spec.pipeline.form == "short":
            (only,) = status.models
            status.engine_reason = only.reason
            if not status.has_ended:
                status.engine, status.precision, status.device = (
                    *(only.engine, only.precision, only.device),
                )

    def _engine_of(self, analysis: str) -> EngineChoice | None:
        if analysis not in self._engines:
            spec = self.spec
            found = self._connections.jobs.engine(spec.job_id, spec.job_uid, analysis)
            if found is None:
                return None
            self._engines[analysis] = found
        return self._engines[analysis]

    def _open(self) -> JobStatus:
        self._listing.read_on()
        seal, listed = self._listing.seal, self._listing.listed
        try:
            progress = self._connections.ledger.progress(self.spec.job_uid)
        except TransientError as error:
            self._warn(str(error))
            images = ImageCounts(
                listed=listed, succeeded=None, failed=None, pending=None, cancelled=0
            )
            return _status(self.spec, "running" if seal else "listing", images)
        counts = _hinted(listed, progress)
        seconds = progress.seconds if progress else 0.0
        return _status(
            self.spec,
            "running" if seal else "listing",
            ImageCounts.of(counts),
            seconds=seconds,
            images_per_second=_rate(counts, seconds),
            skipped=seal.skipped if seal else 0,
        )


class _Listing:
    """How many items the manifest has so far: exactly once it is sealed, about before."""

    def __init__(self, connections: Connections, spec: JobSpec) -> None:
        # Brings pyarrow, which enqueueing can do without.
        from shared.manifest import ManifestReader

        jobs = connections.jobs
        self._spec, self._store, self._bucket = spec, jobs.store, jobs.bucket
        self._reader = ManifestReader(jobs.store, jobs.bucket, spec.job_id)
        self.listed = 0
        self.seal: Seal | None = None

    def read_on(self) -> None:
        """Look at the last part alone, which says where it stands in the whole."""
        from shared.manifest import Seal

        prefix = manifest_prefix(self._spec.job_id)
        count = 0 if self.seal else sum(1 for _ in self._store.list(self._bucket, prefix))
        last = self._reader.part(count - 1) if count else None
        if isinstance(last, Seal):
            self.seal, self.listed = last, last.listed
        elif last is not None:
            self.listed = self._spec.items_before(last.end_chunk - 1) + len(last.chunks[-1])


def job_status(connections: Connections, job_id: str, warn: Warn) -> JobStatus:
    """One look at one job. Raises PermanentError ``no_such_job``, and the store's errors."""
    return watch_job(connections, connections.jobs.any_spec(job_id), warn)()


def watch_job(
    connections: Connections, spec: JobSpec | PastJob, warn: Warn
) -> Callable[[], JobStatus]:
    """A function that looks at a job again at each call."""
    if isinstance(spec, JobSpec):
        return JobWatch(connections, spec, warn).look
    closing = connections.jobs.closing(spec.job_id)
    ended = closing or Closing(
        state="failed", reason="not_closed", accounting=Accounting(), error=spec.reason
    )
    return lambda: _closed(spec, ended)


def _hinted(listed: int, progress: JobProgress | None) -> Accounting:
    counters = progress.counters if progress else {}
    failed = min(listed, int(counters.get("failed", 0)))
    succeeded = min(listed - failed, int(counters.get("succeeded", 0)))
    return Accounting(listed=listed, succeeded=succeeded, failed=failed)


def _closed(spec: JobSpec | PastJob, closing: Closing) -> JobStatus:
    counts = closing.accounting
    computed = {used.analysis: used for used in closing.models}
    status = _status(
        spec,
        closing.state,
        ImageCounts.of(counts),
        **closing.model_dump(include=_IN_CLOSING),
        images_per_second=_rate(counts, closing.seconds),
        skipped=counts.skipped,
    )
    status.models = [
        ModelStatus(**computed.get(model.analysis, model).model_dump()) for model in status.models
    ]
    return status


def _add_retries(connections: Connections, spec: JobSpec, status: JobStatus, warn: Warn) -> None:
    """Each image that a retry has fixed counts as succeeded and no longer as failed."""
    images, has_ended = status.images, False
    counts = [Accounting(succeeded=images.succeeded or 0, failed=images.failed or 0)]
    for retry in connections.jobs.all_retries(status.job_id):
        closing = connections.jobs.closing(retry.job_id)
        if closing is not None:
            counts.append(closing.accounting)
        elif isinstance(retry, JobSpec):
            fixed = JobWatch(connections, retry, warn).look().images.succeeded
            counts.append(Accounting(succeeded=fixed or 0))
        has_ended |= closing is not None
    merged = Accounting.merged(counts)
    images.succeeded, images.failed = merged.succeeded, merged.failed
    if has_ended:
        _decide_again(connections, spec, status)


def merged_with_retried(connections: Connections, status: JobStatus) -> Accounting | None:
    """Of a retry that has ended, the rows that decide how: those of all jobs from the first on."""
    spec = connections.jobs.any_spec(status.job_id)
    if not status.has_ended or isinstance(spec, PastJob) or spec.retry_of is None:
        return None
    ends = connections.jobs.closed_family(spec)
    if not ends or ends[0][0] == spec.job_id:  # what it retries has been removed
        return None
    return Accounting.merged([closing.accounting for _, closing in ends])


def _decide_again(connections: Connections, spec: JobSpec, status: JobStatus) -> None:
    """The end of a job by its rows and those of all retries that have ended.

    Images that were cancelled have no row, and a job that could not be closed lacks some.
    """
    if status.images.cancelled or status.reason == "not_closed" or status.state == "cancelled":
        return
    ends = [closing for _, closing in connections.jobs.closed_family(spec)]
    merged = Accounting.merged([closing.accounting for closing in ends])
    reason = spec.failure(succeeded=merged.succeeded, failed=merged.failed)
    said = [closing.error for closing in ends if reason and closing.reason == reason]
    if reason and not said:
        said = [f"{merged.failed:,} images still fail, and --max-errors allows {spec.max_errors}."]
    status.state, status.reason = "failed" if reason else "succeeded", reason
    status.error = said[-1] if said else None


def _rate(counts: Accounting, seconds: float) -> float | None:
    return round(counts.rows / seconds, 2) if seconds > 0 and counts.rows else None


def _status(spec: JobSpec | PastJob, state: State, images: ImageCounts, **known: Any) -> JobStatus:
    """``known``: further fields; all others are null or have their defaults."""
    about: dict[str, Any]
    if isinstance(spec, JobSpec):
        pipeline, model = spec.pipeline, spec.pipeline.only_model
        about = {
            "pipeline": pipeline.name,
            "model": model and model.name,
            "model_version": model and model.sha256,
            "code_sha256": model and model.code_sha256,
            "models": [ModelStatus.of(pipeline, name) for name in pipeline.network_analyses],
        }
    else:
        about = spec.model_dump(include={"pipeline", "model", "model_version"})
    return JobStatus(
        job_id=spec.job_id,
        **about,
        state=state,
        images=images,
        created_at=spec.created_at,
        output=f"s3://{spec.output_bucket}/{output_root(spec)}",
        **{**dict.fromkeys(_NULL_AT_FIRST), **known},
    )
