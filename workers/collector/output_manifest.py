"""``manifest.json``: what a job made, as users read it. Written once; it decides the accounting.

Only ``retries`` is written again, as retries of the job end: see ``shared.retries``.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from importlib import metadata
from typing import Literal

from shared import keys
from shared.fields import Frozen
from shared.job import Accounting, Closing, ComputedBy, FailureReason, JobSpec, ModelUsed
from shared.manifest import Seal
from shared.messages import Timings
from shared.retries import RetryEntry
from workers.collector import durations
from workers.collector.durations import STEPS, seconds_of
from workers.collector.part import (
    EngineShare,
    ModelShare,
    Part,
    PartFooter,
    total_engines,
    total_failures,
    total_models,
)
from workers.collector.verdict import Circumstances, judge

_LIBRARIES = (
    *("celery", "numpy", "onnxruntime", "openvino", "pillow", "pyarrow", "simplejpeg", "torch"),
)


class PartEntry(Frozen):
    """One part, counted from its own footer as it was read back."""

    name: str
    first_chunk: int
    end_chunk: int
    rows: int
    succeeded: int
    failed: int
    size_bytes: int


class Listed(Frozen):
    """The seal, as users read it: what it calls ``listed`` is called ``images``."""

    chunks: int
    images: int
    total_bytes: int
    skipped: int
    cancelled: bool = False

    @classmethod
    def of(cls, seal: Seal) -> Listed:
        """The same numbers."""
        return cls(
            chunks=seal.chunks,
            images=seal.listed,
            total_bytes=seal.total_bytes,
            skipped=seal.skipped,
            cancelled=seal.cancelled,
        )


class StepTime(Frozen):
    """Seconds that a step took, summed over all workers, and the mean for one image."""

    seconds: float
    milliseconds_per_image: float


class Versions(Frozen):
    """What the results come from. ``libraries`` are those installed beside the collector.

    ``model`` and ``model_sha256`` are of the short form, and null in the long form.
    """

    headrace: str
    python: str
    model: str | None
    model_sha256: str | None
    pipeline: str
    pipeline_sha256: str
    libraries: dict[str, str]


class OutputManifest(Frozen):
    """The document. ``seconds`` runs from ``enqueue`` to here; ``device_busy`` is 0 to 1.

    ``engines`` are of the short form, and none in the long form. ``models`` says in every form what
    computed each analysis by a model, what computed most images first.
    """

    version: Literal[2] = 2
    job_id: str
    job_uid: str
    state: Literal["succeeded", "failed", "cancelled"]
    reason: FailureReason | None
    error: str | None
    accounting: Accounting
    listed: Listed
    parts: tuple[PartEntry, ...]
    started_at: datetime
    ended_at: datetime
    seconds: float
    images_per_second: float | None
    device_busy: float | None
    timings: dict[str, StepTime]
    engines: tuple[EngineShare, ...]
    versions: Versions
    retries: tuple[RetryEntry, ...] = ()
    models: tuple[ModelShare, ...] = ()

    def closing(self) -> Closing:
        """How the job ended, as the state bucket keeps it."""
        main = self.engines[0] if self.engines else None
        models: dict[str, ModelUsed] = {}
        for share in self.models:
            models.setdefault(share.analysis, share.used)
        return Closing(
            state=self.state,
            reason=self.reason,
            accounting=self.accounting,
            **(main or ComputedBy()).engine_fields(),
            seconds=self.seconds,
            device_busy=self.device_busy,
            error=self.error,
            models=tuple(models.values()),
        )


def summarise(
    spec: JobSpec,
    seal: Seal,
    parts: Sequence[Part],
    *,
    ends_early: bool,
    circumstances: Circumstances = Circumstances(),
    ended_at: datetime,
) -> OutputManifest:
    """The manifest of a job whose parts all stand.

    ``ends_early``: what has no row is cancelled.
    """
    footers = [part.footer for part in parts]
    accounting = account(seal, parts, ends_early=ends_early)
    failures = total_failures(kind for footer in footers for kind in footer.failures)
    verdict = judge(spec, seal, accounting, failures, circumstances)
    spent = durations.total(footer.durations for footer in footers)
    busy = durations.device_busy(spent)
    seconds = round(max(0.0, (ended_at - spec.created_at).total_seconds()), 3)
    return OutputManifest(
        job_id=spec.job_id,
        job_uid=spec.job_uid,
        state=verdict.state,
        reason=verdict.reason,
        error=verdict.error,
        accounting=accounting,
        listed=Listed.of(seal),
        parts=tuple(_entry(spec, part) for part in parts),
        started_at=spec.created_at,
        ended_at=ended_at,
        seconds=seconds,
        images_per_second=(
            round(accounting.rows / seconds, 2) if accounting.rows and seconds else None
        ),
        device_busy=None if busy is None else round(busy, 4),
        timings=_step_times(spent, accounting.rows),
        engines=total_engines(use for footer in footers for use in footer.engines),
        versions=_versions(spec),
        models=_models(spec, footers),
    )


def account(seal: Seal, parts: Sequence[Part], *, ends_early: bool) -> Accounting:
    """Where every listed image ended, by the parts' own footers."""
    succeeded = sum(part.footer.succeeded for part in parts)
    failed = sum(part.footer.failed for part in parts)
    return Accounting(
        listed=seal.listed,
        succeeded=succeeded,
        failed=failed,
        cancelled=max(0, seal.listed - succeeded - failed) if ends_early else 0,
        skipped=seal.skipped,
    )


def _entry(spec: JobSpec, part: Part) -> PartEntry:
    return PartEntry(
        name=keys.part_key(spec, part.number).removeprefix(keys.output_root(spec)),
        size_bytes=part.size_bytes,
        **part.footer.model_dump(include=set(PartEntry.model_fields)),
    )


def _models(spec: JobSpec, footers: Sequence[PartFooter]) -> tuple[ModelShare, ...]:
    """In the order of the pipeline's analyses; of what computed nothing, with nulls."""
    uses = total_models(use for footer in footers for use in footer.models)
    found: list[ModelShare] = []
    for name in spec.pipeline.network_analyses:
        unused = ModelShare.of(spec.pipeline, name, images=0)
        found += [use for use in uses if use.analysis == name] or [unused]
    return tuple(found)


def _step_times(spent: Timings, images: int) -> dict[str, StepTime]:
    return {
        step: StepTime(
            seconds=round(seconds_of(step, spent), 3),
            milliseconds_per_image=round(seconds_of(step, spent) * 1000 / max(1, images), 3),
        )
        for step in STEPS
    }


def _versions(spec: JobSpec) -> Versions:
    model = spec.pipeline.only_model
    return Versions(
        headrace=spec.headrace_version,
        python=platform.python_version(),
        model=model and model.name,
        model_sha256=model and model.sha256,
        pipeline=spec.pipeline.name,
        pipeline_sha256=spec.pipeline_sha256,
        libraries=_libraries(),
    )


@cache
def _libraries() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
