"""Following a job to its end, and finding jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from producer import Warn
from producer.connections import Connections
from producer.jobs.requests import PROBE_PIPELINE
from producer.jobs.status import JobStatus, watch_job
from shared.errors import HeadraceError, PermanentError
from shared.job import JobSpec, PastJob

POLL_SECONDS = 0.3
PARALLEL_READS = 16


def follow(
    connections: Connections, job_id: str, warn: Warn, *, timeout_seconds: float | None = None
) -> Iterator[JobStatus]:
    """Yield the job's status again and again, the last one when it has ended.

    A warning is given once. Raises HeadraceError ``timed_out``.
    """
    said: set[str] = set()

    def warn_once(text: str) -> None:
        if text not in said:
            said.add(text)
            warn(text)

    started = time.monotonic()
    look = watch_job(connections, connections.jobs.any_spec(job_id), warn_once)
    while True:
        status = look()
        yield status
        if status.has_ended:
            return
        if timeout_seconds is not None and time.monotonic() - started >= timeout_seconds:
            raise HeadraceError(
                "timed_out",
                f"The job '{job_id}' is still {status.state} after {timeout_seconds:g} seconds.",
                f"It goes on; see 'headrace status {job_id}'.",
            )
        time.sleep(POLL_SECONDS)


def all_specs(connections: Connections) -> list[JobSpec | PastJob]:
    """The spec of every job, newest first."""

    def read(job_id: str) -> JobSpec | PastJob | None:
        try:
            return connections.jobs.any_spec(job_id)
        except PermanentError as error:  # a store may still name the folder of a removed job
            if error.code != "no_such_job":
                raise
            return None

    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        specs = [spec for spec in pool.map(read, connections.jobs.job_ids()) if spec]
    return sorted(specs, key=lambda spec: spec.created_at, reverse=True)


def all_statuses(connections: Connections, warn: Warn, limit: int | None) -> list[JobStatus]:
    """The newest ``limit`` jobs, newest first; all of them where it is None."""
    specs = all_specs(connections)[:limit]
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        return list(pool.map(lambda spec: watch_job(connections, spec, warn)(), specs))


def latest_job_id(connections: Connections) -> str:
    """The id of the newest job, no probe of ``doctor``. Raises PermanentError ``no_such_job``."""
    probe = f"{PROBE_PIPELINE}-"
    specs = [spec for spec in all_specs(connections) if not spec.job_id.startswith(probe)]
    if not specs:
        raise PermanentError("no_such_job", "There are no jobs yet.", "See 'headrace enqueue'.")
    return specs[0].job_id
