"""Does a job fail too often to go on? By the ledger's counters, in the job's favour."""

from __future__ import annotations

from shared.job import JobSpec, JobStop
from shared.ledger import JobProgress


def stop_of(spec: JobSpec, progress: JobProgress) -> JobStop | None:
    """Why a job is to be stopped whose ``max_errors`` is exceeded by the counters; else None.

    They are hints: they forget what a ledger had before it was wiped, and count a chunk twice that
    was computed twice. So while they miss done chunks, a number of images is left to the closing,
    and for a percentage these chunks count as successes; chunks too many count as failures that
    were none. How the job ends is decided from its parts.
    """
    limit = spec.max_errors
    if limit is None or (spec.retry_of is not None and limit.images is None):
        return None  # a percentage of a retry is one of all rows of the job that it retries
    counters = progress.counters
    failed, succeeded = int(counters.get("failed", 0)), int(counters.get("succeeded", 0))
    missed = progress.done_chunks - int(counters.get("chunks", 0))
    if missed > 0 and limit.images is not None:
        return None
    succeeded += max(0, missed) * spec.chunk_items
    failed -= max(0, -missed) * spec.chunk_items
    if not limit.exceeded(succeeded=succeeded, failed=failed):
        return None
    return JobStop(
        reason="too_many_errors",
        error=f"{failed:,} images have failed by now, and --max-errors allows {limit}.",
    )
