"""The retries of a job, as its ``manifest.json`` names them to those who read rows by themselves.

The list follows from the state bucket and may be written again at any time; it decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Literal

from pydantic_core import from_json

from shared.errors import PermanentError
from shared.fields import Frozen
from shared.job import Closing, JobSpec, PastJob
from shared.job_store import JobStore
from shared.keys import output_manifest_key, rows_prefix
from shared.storage import Store

MANIFEST_VERSION = 2
# One of ours has some 200 bytes for each part. Users can write there, too.
MAX_MANIFEST_BYTES = 4 * 2**20
# Of two collectors that write at once, the last one to look sees what both have recorded.
LOOKS = 5


class RetryEntry(Frozen):
    """An ended retry, of the job or of a retry of it. ``rows``: their folder, null without any."""

    job_id: str
    state: Literal["succeeded", "failed", "cancelled"]
    rows: str | None


def name_in_ancestors(
    jobs: JobStore, store_of: Callable[[str], Store], spec: JobSpec, closing: Closing | None = None
) -> None:
    """Have the manifest of each job that ``spec`` goes back to name the retries that have ended.

    ``closing``: how ``spec`` is about to end. A job without a manifest is left out. Raises the
    stores' errors.
    """
    for job in _ancestors(jobs, spec):
        store = store_of(job.output_bucket)
        for _ in range(LOOKS):
            manifest = _manifest(store, job)
            wanted = [entry.model_dump() for entry in _entries(jobs, job, spec, closing)]
            if manifest is None or manifest.get("retries", []) == wanted:
                break
            document = {**manifest, "version": MANIFEST_VERSION, "retries": wanted}
            data = json.dumps(document, indent=2).encode()
            store.put(job.output_bucket, output_manifest_key(job), data)


def _ancestors(jobs: JobStore, spec: JobSpec) -> Iterator[JobSpec]:
    while spec.retry_of is not None and jobs.has_spec(spec.retry_of):
        found = jobs.any_spec(spec.retry_of)
        if isinstance(found, PastJob):
            return
        spec = found
        yield spec


def _entries(
    jobs: JobStore, job: JobSpec, spec: JobSpec, closing: Closing | None
) -> Iterator[RetryEntry]:
    """The oldest first."""
    for retry in jobs.all_retries(job.job_id):
        end = jobs.closing(retry.job_id) or (closing if retry.job_id == spec.job_id else None)
        if end is not None:
            folder = f"s3://{retry.output_bucket}/{rows_prefix(retry)}"
            rows = folder if end.accounting.rows else None
            yield RetryEntry(job_id=retry.job_id, state=end.state, rows=rows)


def _manifest(store: Store, job: JobSpec) -> dict[str, object] | None:
    """What stands; None where there is none that can be read and is the job's."""
    key = output_manifest_key(job)
    try:
        _, data = store.get_object(job.output_bucket, key, max_bytes=MAX_MANIFEST_BYTES)
        found = from_json(data, allow_inf_nan=False)
    except (PermanentError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("job_uid") == job.job_uid else None
