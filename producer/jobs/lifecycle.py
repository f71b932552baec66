"""What may be done to a job after it was enqueued."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from producer import Echo, Warn
from producer.connections import Connections
from producer.jobs.checks import require_output
from producer.jobs.code import Progress, silent
from producer.jobs.following import follow
from producer.jobs.status import job_status
from producer.jobs.submission import announce, max_chunk_items, resolved, tell_packed, upload
from producer.pins import cancel_without_pins, require_pins
from producer.version import version
from shared.catalog import PackedClass
from shared.errors import HeadraceError, PermanentError, UsageError
from shared.job import JobSpec, PastJob, new_job_id
from shared.keys import (
    JOBS,
    cancel_key,
    closed_key,
    output_root,
    spec_key,
    success_key,
)
from shared.pipeline import Pipeline
from shared.retries import name_in_ancestors

CLOSING_SECONDS = 10.0


def cancel(connections: Connections, job_id: str, warn: Warn) -> None:
    """Ask for the end of a job; doing so twice is fine. Raises PermanentError ``job_ended``."""
    connections.jobs.spec(job_id)
    _require_open(connections, job_id)
    connections.jobs.cancel(job_id)
    announce(connections, job_id, warn)


def resume(connections: Connections, job_id: str, warn: Warn) -> None:
    """Have the producer look at a job at once, which it would do later by itself."""
    connections.jobs.spec(job_id)
    _require_open(connections, job_id)
    if connections.jobs.is_cancelled(job_id):
        raise PermanentError(
            "job_cancelled", f"The job '{job_id}' is cancelled.", "Enqueue it again."
        )
    announce(connections, job_id, warn)


def retry(
    connections: Connections,
    job_id: str,
    warn: Warn,
    *,
    update: bool = False,
    tell: Echo = silent,
    progress: Progress = silent,
) -> JobSpec:
    """A new job over what failed in an ended one, linked to it.

    It has the same pipeline and code; with ``update`` what the pipeline's name or file says now.
    A job that was retried before is retried from its last retry on.
    """
    last = _last_retry(connections, job_id)
    status = job_status(connections, last, warn)
    if not status.has_ended:
        raise PermanentError(
            "job_open",
            f"The job '{last}' has not ended yet.",
            f"Run 'headrace wait {last}' first.",
        )
    parent = connections.jobs.spec(last)
    first = connections.jobs.first_of(parent).job_id  # a cancelled retry did not reach all of them
    images = job_status(connections, first, warn).images
    if not images.failed:
        raise PermanentError(
            "nothing_failed",
            f"Nothing in the job '{first}' is failed.",
            f"To run the {images.cancelled:,} that were cancelled, enqueue again."
            if images.cancelled
            else "",
        )
    own = {"job_id", "job_uid", "created_at", "limit"}
    changes, packed = _updated(connections, parent) if update else ({}, ())
    fresh = JobSpec.model_validate(
        {
            **parent.model_dump(exclude=own),
            **changes,
            "job_id": new_job_id(parent.pipeline.name),
            "retry_of": last,
            "headrace_version": version(),
        }
    )
    tell_packed(packed, tell)
    require_output(connections, fresh, warn)
    upload(connections, packed, progress)
    require_pins(connections, fresh)
    connections.jobs.add_retry(last, fresh.job_id)
    connections.jobs.create_spec(fresh)
    cancel_without_pins(connections, fresh)
    announce(connections, fresh.job_id, warn)
    return fresh


def _updated(
    connections: Connections, parent: JobSpec
) -> tuple[dict[str, Any], tuple[PackedClass, ...]]:
    """What is other in a spec with the present pipeline, and what is to be uploaded for it."""
    given = parent.pipeline_given or parent.pipeline.name
    try:
        found = resolved(connections, given)
        most = max_chunk_items(found.pipeline, connections.settings)
    except UsageError as error:
        raise UsageError(
            error.code,
            error.message,
            f"{error.hint} The job was enqueued with --pipeline {given}: repair that, or leave "
            "--update out.".strip(),
        ) from error
    _require_same_columns(parent, found.pipeline)
    changes = {
        "pipeline": found.pipeline.model_dump(),
        "pipeline_sha256": found.pipeline.sha256,
        "chunk_items": min(parent.chunk_items, most),
    }
    return changes, found.packed


def _require_same_columns(parent: JobSpec, pipeline: Pipeline) -> None:
    """The rows of a job and its retries are one table. Raises UsageError."""
    from shared.rows import rows_schema  # brings pyarrow, which enqueueing can do without

    old, new = (
        {field.name: str(field.type) for field in rows_schema(each)}
        for each in (parent.pipeline, pipeline)
    )
    differences = [
        f"{name}: {old.get(name, 'none')} -> {new.get(name, 'none')}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]
    if differences:
        raise UsageError(
            "other_columns",
            f"With the present pipeline, rows would have other columns than those of the job "
            f"'{parent.job_id}': {'; '.join(differences)}.",
            "Leave --update out, or enqueue a new job.",
        )


def remove(connections: Connections, job_id: str) -> None:
    """Delete an ended or cancelled job: its output, then its state. Repeat it if interrupted."""
    require_removable(connections, job_id)
    purge(connections, job_id)


def purge(connections: Connections, job_id: str) -> None:
    """Delete a job that nothing retries, ended or cancelled, or what an earlier try has left."""
    if connections.jobs.has_spec(job_id):
        spec = connections.jobs.any_spec(job_id)
        _let_it_close(connections, job_id)
        if isinstance(spec, JobSpec):
            _unlink(connections, spec)
        _remove_output(connections, spec)
    jobs, folder = connections.jobs, f"{JOBS}{job_id}/"
    # Without its closing a job would run again, so the spec goes first of the two.
    last = (spec_key(job_id), cancel_key(job_id), closed_key(job_id))
    found = [info.key for info in jobs.store.list(jobs.bucket, folder)]
    jobs.store.delete_many(jobs.bucket, [key for key in found if key not in last])
    for key in last:
        jobs.store.delete(jobs.bucket, key)


def require_removable(connections: Connections, job_id: str) -> JobSpec | PastJob | None:
    """The spec of a job that may be removed; None where an earlier removal has taken it.

    Raises PermanentError ``no_such_job``, ``job_open``, or ``job_needed``: by a running retry, or,
    where the job is a retry itself, by any later one, whose rows the first job would lose.
    """
    jobs = connections.jobs
    try:
        spec = jobs.any_spec(job_id)
    except PermanentError:
        folder = f"{JOBS}{job_id}/"
        if "/" in job_id or not any(jobs.store.list(jobs.bucket, folder)):
            raise
        return None
    is_over = isinstance(spec, PastJob) or jobs.closing(job_id) or jobs.is_cancelled(job_id)
    if not is_over:
        raise PermanentError(
            "job_open", f"The job '{job_id}' is not over.", f"Run 'headrace cancel {job_id}' first."
        )
    later = jobs.all_retries(job_id)
    for other in later:
        if isinstance(other, JobSpec) and not jobs.closing(other.job_id):
            raise PermanentError(
                "job_needed",
                f"The job '{other.job_id}' retries '{job_id}' and is not over.",
                f"Run 'headrace wait {other.job_id}' first.",
            )
    is_retry = isinstance(spec, JobSpec) and spec.retry_of and jobs.has_spec(spec.retry_of)
    if later and is_retry:
        last = later[-1].job_id
        raise PermanentError(
            "job_needed",
            f"The job '{last}' retries '{job_id}', which is a retry itself.",
            f"Run 'headrace rm {last}' first.",
        )
    return spec


def _let_it_close(connections: Connections, job_id: str) -> None:
    """What closes a cancelled job, seconds after, must not write when it is gone."""
    try:
        for _ in follow(connections, job_id, silent, timeout_seconds=CLOSING_SECONDS):
            pass
    except HeadraceError as error:
        if error.code != "timed_out":
            raise


def _unlink(connections: Connections, spec: JobSpec) -> None:
    """Have no job name this one as its retry."""
    if spec.retry_of is not None:
        connections.jobs.remove_retry(spec.retry_of, spec.job_id)
        with suppress(PermanentError):  # an output that is gone, or that may not be written
            name_in_ancestors(connections.jobs, connections.store_of, spec)


def _remove_output(connections: Connections, spec: JobSpec | PastJob) -> None:
    if not spec.output_bucket:  # of a spec that cannot be read
        return
    store = connections.store_of(spec.output_bucket)
    if not store.bucket_exists(spec.output_bucket):
        return
    store.delete(spec.output_bucket, success_key(spec))  # nobody is to take the rest for whole
    found = store.list(spec.output_bucket, output_root(spec))
    store.delete_many(spec.output_bucket, [info.key for info in found])


def _require_open(connections: Connections, job_id: str) -> None:
    if closing := connections.jobs.closing(job_id):
        raise PermanentError(
            "job_ended",
            f"The job '{job_id}' has ended already: {closing.state}.",
            f"See 'headrace status {job_id}'.",
        )


def _last_retry(connections: Connections, job_id: str) -> str:
    """The end of the chain of retries that begins with the job."""
    for retry_id in connections.jobs.retries(job_id):
        try:
            connections.jobs.spec(retry_id)
        except PermanentError:  # it was never written, or has been removed
            continue
        return _last_retry(connections, retry_id)
    return job_id
