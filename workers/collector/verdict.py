"""How a job ended: by the rows of its parts, and by who ended it early, if anybody did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared.job import Accounting, FailureReason, JobSpec, JobStop
from shared.job_store import JobStore
from shared.manifest import Seal
from workers.collector.part import FailureCount

MAX_MESSAGE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a job, as ``closed.json`` has it."""

    state: Literal["succeeded", "failed", "cancelled"]
    reason: FailureReason | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What decides how a job ended, besides its own rows.

    ``earlier``: of a retry, how the jobs that it retries ended, the first one first, whose id is
    ``first``. ``stop``: why the job was stopped; ``is_cancelled``: whether its user has cancelled
    it.
    """

    earlier: Sequence[Accounting] = ()
    first: str | None = None
    stop: JobStop | None = None
    is_cancelled: bool = False


def circumstances(jobs: JobStore, spec: JobSpec, *, ends_early: bool) -> Circumstances:
    """As the bucket has them. Raises the store's errors."""
    family = jobs.closed_family(spec) if spec.retry_of is not None else []
    before = {job_id: closing.accounting for job_id, closing in family if job_id != spec.job_id}
    earlier, first = list(before.values()), next(iter(before), None)
    if not ends_early:
        return Circumstances(earlier, first)
    stop = jobs.stopped(spec.job_id, spec.job_uid)
    return Circumstances(earlier, first, stop, jobs.is_cancelled(spec.job_id))


def judge(
    spec: JobSpec,
    seal: Seal,
    own: Accounting,
    failures: Sequence[FailureCount],
    circumstances: Circumstances,
) -> Verdict:
    """The verdict on a job whose parts all stand. ``failures``: the most frequent first."""
    if not own.adds_up:
        said = f"The parts have {own.rows} rows for {own.listed} listed images."
        return _failed("not_closed", said)
    merged = Accounting.merged([*circumstances.earlier, own])
    reason = spec.failure(succeeded=merged.succeeded, failed=merged.failed)
    stop, is_cut_short = circumstances.stop, bool(seal.cancelled or own.cancelled)
    if not is_cut_short:  # a stop or cancellation came too late to leave anything out
        return _failed(reason, _why(spec, merged, failures)) if reason else Verdict("succeeded")
    left_out = _left_out(seal, own, circumstances.first)
    if stop is not None and stop.reason == "cannot_compute":
        return _failed(
            "not_closed" if merged.succeeded else "no_success", f"{stop.error} {left_out}"
        )
    if stop is None or circumstances.is_cancelled:
        return Verdict("cancelled")
    if reason:
        return _failed(
            "too_many_errors", f"Stopped early: {_why(spec, merged, failures)} {left_out}"
        )
    # What was under way at the stop has succeeded since, or the ledger had counted a chunk twice.
    said = (
        f"When it was stopped, more images had failed than --max-errors {spec.max_errors} allows; "
        f"of the {merged.rows:,} finished by the end, {merged.failed:,} failed."
    )
    return _failed("too_many_errors", f"{said} {left_out}")


def _left_out(seal: Seal, own: Accounting, first: str | None) -> str:
    """``first``: the job that was retried first, in which what a retry leaves out is failed."""
    parts = [f"{own.cancelled:,}"] if own.cancelled else []
    if seal.cancelled:
        parts.append("those that were not listed yet")
    how = f"say 'headrace retry {first} --failed'" if first else "enqueue again"
    return f"Images not processed: {' and '.join(parts)}; to run them, {how}."


def _failed(reason: FailureReason, error: str) -> Verdict:
    return Verdict("failed", reason, error)


def _why(spec: JobSpec, merged: Accounting, failures: Sequence[FailureCount]) -> str:
    if not merged.rows:
        return _nothing_listed(spec)
    counted = f"{merged.failed:,} of {merged.rows:,}"
    said = f"No image succeeded: {counted} failed"
    if merged.succeeded:
        said = f"{counted} images failed, and --max-errors allows {spec.max_errors}"
    if not failures:
        return f"{said}."
    most = failures[0]
    share = "all" if most.count == merged.failed else f"{most.count:,}"
    key = repr(most.key)[1:-1]  # in one line, whatever it has
    message = " ".join(most.message.split())[:MAX_MESSAGE_CHARACTERS].rstrip(".")
    return (
        f"{said}, {share} of them as {most.code}, for example {key}: {message}. "
        f"See 'headrace errors {spec.job_id}'."
    )


def _nothing_listed(spec: JobSpec) -> str:
    if spec.retry_of is not None:
        return f"No image was listed: nothing in the job '{spec.retry_of}' is failed any more."
    where = f"s3://{spec.bucket}/{spec.prefix}"
    wanted = " that --include and --exclude let in" if spec.include or spec.exclude else ""
    return f"No image was listed: there is no object under {where!a}{wanted}."
