"""Sending the probe, following it, and removing all of it again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from producer import Warn
from producer.connections import Connections
from producer.doctor.probe.passage import ENDED, STEPS, ProbePosition, StepReport, overdue_report
from producer.jobs import PROBE_PIPELINE, JobRequest, cancel, purge, submit
from shared.errors import HeadraceError, PermanentError
from shared.job import JobSpec, new_job_id
from shared.storage import ensure_bucket

_HERE = Path(__file__).parent
# Also its folder in the results bucket: preprocessing may read there.
NAME = PROBE_PIPELINE
# A probe so old has been left by a command that was killed.
LEFT_AFTER = timedelta(hours=1)
# A stage takes milliseconds.
LOOK_SECONDS = 0.01


def send_probe(connections: Connections, step_seconds: float, warn: Warn) -> Iterator[StepReport]:
    """Run a job over one image. Yields each step when the image has passed it, or stands there.

    Whatever happens, the job, its rows and the image are removed again, and what an earlier probe
    has left. Raises HeadraceError.
    """
    job_id = new_job_id(NAME)
    bucket, key = connections.settings.results_bucket, _image_key(job_id)
    request = JobRequest(
        f"s3://{bucket}/{key}",
        str(_HERE / "probe.yaml"),
        job_id,
        output=f"s3://{bucket}/{NAME}",
    )
    store = connections.store_of(bucket)
    ensure_bucket(store, bucket)
    for left in _left(connections):
        _remove(connections, left, warn)
    with _removed_again(connections, job_id, warn):
        store.put(bucket, key, (_HERE / "probe.jpg").read_bytes())
        spec = submit(connections, request, _ignore)
        yield from _follow(connections, spec, step_seconds)


def _follow(connections: Connections, spec: JobSpec, step_seconds: float) -> Iterator[StepReport]:
    position, at, since = ProbePosition(connections, spec), 0, time.monotonic()
    others = position.others()
    while at < ENDED:
        step, now = position.step(), time.monotonic()
        if step > at:  # a rescued chunk goes back, which its step has to make up for
            for passed in range(at, step):
                yield StepReport(STEPS[passed], "ok", now - since, f"{now - since:.2f} s")
                since = now
            at, others = step, position.others()
        elif now - since > step_seconds:
            yield overdue_report(position, at, now - since, others)
            return
        else:
            time.sleep(LOOK_SECONDS)
    yield from _complaint(connections, spec)


def _complaint(connections: Connections, spec: JobSpec) -> Iterator[StepReport]:
    """Why the job came to its end and the image did not."""
    from producer.job_rows import iter_rows

    closing = connections.jobs.closing(spec.job_id)
    if closing is None or closing.accounting.succeeded:
        return
    why = closing.error or f"The job is {closing.state}."
    for table in iter_rows(connections.store_of, connections.jobs, spec, status="failed"):
        for row in table.select(["error_code", "error_message"]).to_pylist():
            why = f"{row['error_code']}: {row['error_message']}"
    yield StepReport(
        "result",
        "failed",
        0.0,
        f"The probe image failed. {why}",
        "See 'headrace logs inference' and 'headrace logs preprocess'.",
    )


@contextmanager
def _removed_again(connections: Connections, job_id: str, warn: Warn) -> Iterator[None]:
    try:
        yield
    finally:
        _remove(connections, job_id, warn)


def _remove(connections: Connections, job_id: str, warn: Warn) -> None:
    """The image goes last, and only when all else has gone: a later probe finds by it the rest."""
    bucket = connections.settings.results_bucket
    try:
        try:
            with suppress(PermanentError):  # it was never written, or has ended
                cancel(connections, job_id, _ignore)
        finally:
            purge(connections, job_id)
        connections.store_of(bucket).delete(bucket, _image_key(job_id))
    except HeadraceError as error:
        warn(
            f"the probe '{job_id}' was not removed: {error.message} A 'headrace doctor' in an hour "
            "or later removes it."
        )
    with suppress(HeadraceError):
        connections.ledger.hint(job_id)  # the producer is to forget it at once


def _left(connections: Connections) -> list[str]:
    """The probes that were not removed; they sort by their time."""
    bucket, oldest = connections.settings.results_bucket, datetime.now(UTC) - LEFT_AFTER
    found = connections.store_of(bucket).list(bucket, f"{NAME}/{NAME}-")
    ids = [Path(info.key).stem for info in found if info.key.endswith(".jpg")]
    return [job_id for job_id in ids if job_id < f"{NAME}-{oldest:%Y%m%d-%H%M%S}"]


def _image_key(job_id: str) -> str:
    return f"{NAME}/{job_id}.jpg"


def _ignore(_text: str) -> None:
    return None
