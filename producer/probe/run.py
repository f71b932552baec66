"""Sending the probe, following it, and removing all of it again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from producer.connections import Connections
from producer.jobs import JobRequest, cancel, purge, submit
from producer.probe.passage import ENDED, STEPS, Passage, Way, stands
from shared.errors import HeadraceError, PermanentError
from shared.job import JobSpec, new_job_id

_HERE = Path(__file__).parent
# The name of its pipeline, and its folder in the results bucket: preprocessing may read there.
NAME = "headrace-doctor"
# A stage takes milliseconds.
LOOK_SECONDS = 0.01

Warn = Callable[[str], None]


def send_probe(connections: Connections, step_seconds: float, warn: Warn) -> Iterator[Passage]:
    """Run a job over one image. Yields each step when the image has passed it, or stands there.

    Whatever happens, the job, its rows and the image are removed again. Raises HeadraceError.
    """
    job_id = new_job_id(NAME)
    bucket, key = connections.settings.results_bucket, f"{NAME}/{job_id}.jpg"
    request = JobRequest(
        f"s3://{bucket}/{key}",
        str(_HERE / "probe.yaml"),
        job_id,
        output=f"s3://{bucket}/{NAME}",
    )
    with _removed_again(connections, job_id, key, warn):
        store = connections.store_of(bucket)
        if not store.bucket_exists(bucket):
            store.make_bucket(bucket)
        store.put(bucket, key, (_HERE / "probe.jpg").read_bytes())
        spec = submit(connections, request, _ignore)
        yield from _follow(connections, spec, step_seconds)


def _follow(connections: Connections, spec: JobSpec, step_seconds: float) -> Iterator[Passage]:
    way, at, since = Way(connections, spec), 0, time.monotonic()
    others = way.others()
    while at < ENDED:
        step, now = way.step(), time.monotonic()
        if step > at:  # a rescued chunk goes back, which its step has to make up for
            for passed in range(at, step):
                yield Passage(STEPS[passed], "ok", now - since, f"{now - since:.2f} s")
                since = now
            at, others = step, way.others()
        elif now - since > step_seconds:
            yield stands(way, at, now - since, others)
            return
        else:
            time.sleep(LOOK_SECONDS)
    yield from _complaint(connections, spec)


def _complaint(connections: Connections, spec: JobSpec) -> Iterator[Passage]:
    """Why the job came to its end and the image did not."""
    from producer.results import iter_rows

    closing = connections.jobs.closing(spec.job_id)
    if closing is None or closing.accounting.succeeded:
        return
    why = closing.error or f"The job is {closing.state}."
    for table in iter_rows(connections.store_of, connections.jobs, spec, status="failed"):
        for row in table.select(["error_code", "error_message"]).to_pylist():
            why = f"{row['error_code']}: {row['error_message']}"
    yield Passage(
        "result",
        "failed",
        0.0,
        f"The probe image failed. {why}",
        "See 'headrace logs inference' and 'headrace logs preprocess'.",
    )


@contextmanager
def _removed_again(
    connections: Connections, job_id: str, image_key: str, warn: Warn
) -> Iterator[None]:
    try:
        yield
    finally:
        try:
            _remove(connections, job_id, image_key)
        except HeadraceError as error:
            warn(f"the probe was not removed: {error.message} Run 'headrace rm {job_id}'.")


def _remove(connections: Connections, job_id: str, image_key: str) -> None:
    bucket = connections.settings.results_bucket
    connections.store_of(bucket).delete(bucket, image_key)
    with suppress(PermanentError):  # it was never written, or has ended
        cancel(connections, job_id, _ignore)
    purge(connections, job_id)
    connections.ledger.hint(job_id)  # the producer is to forget it at once


def _ignore(_text: str) -> None:
    return None
