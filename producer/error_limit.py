"""Does a job fail too often to go on? By the ledger's counters, in the job's favour."""

from __future__ import annotations

from shared.job import JobSpec, JobStop
from shared.ledger import JobProgress


def stop_of(spec: JobSpec, progress: JobProgress) -> JobStop | None:
    """Why a job is to be stopped whose ``max_errors`` is exceeded for certain; else None.

    The counters forget what a ledger had before it was wiped, and count a chunk twice that was
    computed twice. So done chunks that they miss count as successes, and chunks too many as
    failures that were none. How the job ends is decided from its parts.
    """
    limit = spec.max_errors
    if limit is None or (spec.retry_of is not None and limit.images is None):
        return None  # a percentage of a retry is one of all rows of the job that it retries
    counters = progress.counters
    failed, succeeded = int(counters.get("failed", 0)), int(counters.get("succeeded", 0))
    missed = progress.done_chunks - int(counters.get("chunks", 0))
    succeeded += max(0, missed) * spec.chunk_items
    failed -= max(0, -missed) * spec.chunk_items
    if not limit.exceeded(succeeded=succeeded, failed=failed):
        return None
    return JobStop(
        reason="too_many_errors",
        error=f"At least {failed:,} images failed, and --max-errors allows {limit}.",
    )
