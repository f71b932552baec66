"""Closing a job: ``manifest.json``, the steps before ``closed.json``, that file, the steps after.

Each step is create-only or can be repeated, so a collector that dies between two is continued by
any other, and of two that close at once the first one's manifest decides for both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from shared import keys
from shared.errors import PermanentError
from shared.job import Closing, JobSpec
from shared.job_store import JobStore
from shared.retries import name_in_ancestors
from shared.storage import Store
from workers.collector.output_manifest import OutputManifest

log = logging.getLogger(__name__)

Step = Callable[[JobStore, Store, JobSpec, Closing], None]


def close(jobs: JobStore, output: Store, spec: JobSpec, proposed: OutputManifest) -> Closing:
    """Record the end of a job whose parts all stand. Returns the closing that stands."""
    manifest = _existing(output, spec, proposed)
    return record(jobs, output, spec, manifest.closing())


def record(jobs: JobStore, output: Store, spec: JobSpec, closing: Closing) -> Closing:
    """Write ``closed.json``, unless there is one. Returns the one that stands."""
    for step in BEFORE_CLOSED:
        step(jobs, output, spec, closing)
    if jobs.create_closing(spec.job_id, closing):
        return closing
    return jobs.closing(spec.job_id) or closing


def finish(jobs: JobStore, output: Store, spec: JobSpec, closing: Closing) -> None:
    """What is left to do once ``closed.json`` stands. Raises the store's errors."""
    for step in AFTER_CLOSED:
        step(jobs, output, spec, closing)


def mark_success(_jobs: JobStore, output: Store, spec: JobSpec, closing: Closing) -> None:
    """Write ``_SUCCESS`` where all rows are there: the marker promises them all."""
    if closing.state == "succeeded":
        output.create(spec.output_bucket, keys.success_key(spec), b"")


def name_retry(jobs: JobStore, output: Store, spec: JobSpec, closing: Closing) -> None:
    """Have the manifests of the jobs before a retry name it.

    What cannot be written there keeps no retry from ending. Raises TransientError.
    """
    try:
        name_in_ancestors(jobs, lambda _bucket: output, spec, closing)
    except PermanentError as error:
        log.warning("%s: not named in the manifest of what it retries: %s", spec.job_id, error)


def drop_chunk_files(jobs: JobStore, _output: Store, spec: JobSpec, closing: Closing) -> None:
    """Delete them where the parts hold all rows: else they are all that is left of some."""
    counted = closing.accounting
    if closing.reason != "not_closed" or (counted.listed and counted.adds_up):
        found = jobs.store.list(jobs.bucket, keys.chunks_prefix(spec.job_id))
        jobs.store.delete_many(jobs.bucket, [info.key for info in found])


BEFORE_CLOSED: tuple[Step, ...] = (mark_success, name_retry)
# A retry is named once more: another job of its family may have ended at the same time.
AFTER_CLOSED: tuple[Step, ...] = (name_retry, drop_chunk_files)


def _existing(output: Store, spec: JobSpec, proposed: OutputManifest) -> OutputManifest:
    key = keys.output_manifest_key(spec)
    if output.create(spec.output_bucket, key, proposed.model_dump_json(indent=2).encode()):
        return proposed
    try:
        existing = OutputManifest.model_validate_json(output.get(spec.output_bucket, key))
    except ValueError as error:
        raise _foreign(spec, key, "cannot be read") from error
    if existing.job_uid != spec.job_uid:
        raise _foreign(spec, key, "belongs to another job of this name")
    return existing


def _foreign(spec: JobSpec, key: str, problem: str) -> PermanentError:
    return PermanentError(
        "bad_manifest",
        f"s3://{spec.output_bucket}/{key} {problem}.",
        "Choose another job id or another output folder.",
    )
