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
from shared.job import Accounting, Closing, FailureReason, JobSpec
from shared.manifest import Seal
from shared.pipeline import Frozen
from shared.retries import RetryEntry
from workers.collector import durations
from workers.collector.durations import STEPS, Durations
from workers.collector.part import EngineUse, Part, total_engines, total_failures
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


class StepTime(Frozen):
    """Seconds that a step took, summed over all workers, and the mean for one image."""

    seconds: float
    milliseconds_per_image: float


class ListedTotals(Frozen):
    """What the sealed manifest says. ``cancelled``: the listing was cut short."""

    chunks: int
    images: int
    total_bytes: int
    skipped: int
    cancelled: bool


class Versions(Frozen):
    """What the results come from. ``libraries`` are those installed beside the collector."""

    headrace: str
    python: str
    model: str
    model_sha256: str
    pipeline: str
    pipeline_sha256: str
    libraries: dict[str, str]


class OutputManifest(Frozen):
    """The document. ``seconds`` runs from ``enqueue`` to here; ``device_busy`` is 0 to 1."""

    version: Literal[2] = 2
    job_id: str
    job_uid: str
    state: Literal["succeeded", "failed", "cancelled"]
    reason: FailureReason | None
    error: str | None
    accounting: Accounting
    listed: ListedTotals
    parts: tuple[PartEntry, ...]
    started_at: datetime
    ended_at: datetime
    seconds: float
    images_per_second: float | None
    device_busy: float | None
    timings: dict[str, StepTime]
    engines: tuple[EngineUse, ...]
    versions: Versions
    retries: tuple[RetryEntry, ...] = ()

    def closing(self) -> Closing:
        """How the job ended, as the state bucket keeps it."""
        main = self.engines[0] if self.engines else None
        return Closing(
            state=self.state,
            reason=self.reason,
            accounting=self.accounting,
            engine=main and main.engine,
            precision=main and main.precision,
            device=main and main.device,
            seconds=self.seconds,
            device_busy=self.device_busy,
            error=self.error,
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
    rows = accounting.succeeded + accounting.failed
    failures = total_failures(kind for footer in footers for kind in footer.failures)
    verdict = judge(spec, seal, accounting, failures, circumstances)
    spent = durations.total(footer.durations for footer in footers)
    seconds = round(max(0.0, (ended_at - spec.created_at).total_seconds()), 3)
    return OutputManifest(
        job_id=spec.job_id,
        job_uid=spec.job_uid,
        state=verdict.state,
        reason=verdict.reason,
        error=verdict.error,
        accounting=accounting,
        listed=ListedTotals(
            chunks=seal.chunks,
            images=seal.listed,
            total_bytes=seal.total_bytes,
            skipped=seal.skipped,
            cancelled=seal.cancelled,
        ),
        parts=tuple(_entry(spec, part) for part in parts),
        started_at=spec.created_at,
        ended_at=ended_at,
        seconds=seconds,
        images_per_second=round(rows / seconds, 2) if rows and seconds else None,
        device_busy=None if spent.device_busy is None else round(spent.device_busy, 4),
        timings=_step_times(spent, rows),
        engines=total_engines(use for footer in footers for use in footer.engines),
        versions=_versions(spec),
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
    footer = part.footer
    return PartEntry(
        name=keys.part_key(spec, part.number).removeprefix(keys.output_root(spec)),
        first_chunk=footer.first_chunk,
        end_chunk=footer.end_chunk,
        rows=footer.rows,
        succeeded=footer.succeeded,
        failed=footer.failed,
        size_bytes=part.size_bytes,
    )


def _step_times(spent: Durations, images: int) -> dict[str, StepTime]:
    return {
        step: StepTime(
            seconds=round(spent.of_step(step), 3),
            milliseconds_per_image=round(spent.of_step(step) * 1000 / max(1, images), 3),
        )
        for step in STEPS
    }


def _versions(spec: JobSpec) -> Versions:
    return Versions(
        headrace=spec.headrace_version,
        python=platform.python_version(),
        model=spec.pipeline.model.name,
        model_sha256=spec.pipeline.model.sha256,
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
