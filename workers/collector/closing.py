"""Closing a job: ``manifest.json``, ``_SUCCESS``, ``closed.json``, and then the chunk files go.

A retry is named in the manifests of the jobs before it, ahead of its ``closed.json``.

Each step is create-only or can be repeated, so a collector that dies between two is continued by
any other, and of two that close at once the first one's manifest decides for both.
"""

from __future__ import annotations

import logging

from shared import keys
from shared.errors import PermanentError
from shared.job import Closing, JobSpec
from shared.job_store import JobStore
from shared.retries import name_in_ancestors
from shared.storage import Store
from workers.collector.output_manifest import OutputManifest

log = logging.getLogger(__name__)


def close(jobs: JobStore, output: Store, spec: JobSpec, proposed: OutputManifest) -> Closing:
    """Record the end of a job whose parts all stand. Returns the closing that stands."""
    manifest = _standing(output, spec, proposed)
    if manifest.state == "succeeded":  # whoever waits for the marker wants the whole
        output.create(spec.output_bucket, keys.success_key(spec), b"")
    return record(jobs, output, spec, manifest.closing())


def record(jobs: JobStore, output: Store, spec: JobSpec, closing: Closing) -> Closing:
    """Write ``closed.json``, unless there is one. Returns the one that stands."""
    name_retry(jobs, output, spec, closing)
    if jobs.create_closing(spec.job_id, closing):
        return closing
    return jobs.closing(spec.job_id) or closing


def name_retry(jobs: JobStore, output: Store, spec: JobSpec, closing: Closing) -> None:
    """Have the jobs before a retry name it. To be repeated after its end: others may end with it.

    What cannot be written there keeps no retry from ending. Raises TransientError.
    """
    try:
        name_in_ancestors(jobs, lambda _bucket: output, spec, closing)
    except PermanentError as error:
        log.warning("%s: not named in the manifest of what it retries: %s", spec.job_id, error)


def drop_chunk_files(jobs: JobStore, spec: JobSpec, closing: Closing) -> None:
    """Delete them where the parts hold all rows: else they are all that is left of some."""
    counted = closing.accounting
    if closing.reason != "not_closed" or (counted.listed and counted.adds_up):
        found = jobs.store.list(jobs.bucket, keys.chunks_prefix(spec.job_id))
        jobs.store.delete_many(jobs.bucket, [info.key for info in found])


def _standing(output: Store, spec: JobSpec, proposed: OutputManifest) -> OutputManifest:
    key = keys.output_manifest_key(spec)
    if output.create(spec.output_bucket, key, proposed.model_dump_json(indent=2).encode()):
        return proposed
    try:
        standing = OutputManifest.model_validate_json(output.get(spec.output_bucket, key))
    except ValueError as error:
        raise _foreign(spec, key, "cannot be read") from error
    if standing.job_uid != spec.job_uid:
        raise _foreign(spec, key, "belongs to another job of this name")
    return standing


def _foreign(spec: JobSpec, key: str, problem: str) -> PermanentError:
    return PermanentError(
        "bad_manifest",
        f"s3://{spec.output_bucket}/{key} {problem}.",
        "Take another job id or another output folder.",
    )
