"""The rows of a job and its retries as one object in a bucket."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from producer.connections import Connections
from producer.jobs.nearest import bucket_missing
from producer.results import Format, write_file
from shared.errors import PermanentError, UsageError
from shared.job import JobSpec, PastJob
from shared.keys import output_root, rows_prefix
from shared.storage import Store, parse_s3_url

Place = tuple[Store, str, str]


def place_for(connections: Connections, spec: JobSpec | PastJob, url: str) -> Place:
    """Store, bucket and key of ``s3://BUCKET/KEY``; our own results bucket is made if missing.

    Raises UsageError where it names no object, or one by which a job or its readers go.
    """
    settings = connections.settings
    bucket, key = parse_s3_url(url)
    if not key or key.endswith("/"):
        example = f"s3://{bucket}/{key}merged.parquet"
        raise UsageError("bad_output", f"{url!r} names no object.", f"Say {example!r}.")
    if bucket in (settings.state_bucket, settings.models_bucket):
        raise PermanentError(
            "output_not_writable",
            f"The bucket '{bucket}' is Headrace's own, and no results may be written there.",
            "Take another place.",
        )
    for job in (spec, *connections.jobs.all_retries(spec.job_id)):
        root = output_root(job)
        own = (rows_prefix(job), f"{root}manifest.json", f"{root}_SUCCESS")
        if bucket == job.output_bucket and key.startswith(own):
            raise UsageError(
                "bad_output",
                f"{url!r} lies among what the job '{job.job_id}' wrote itself.",
                f"Say 's3://{bucket}/{root}merged.parquet', or take another folder.",
            )
    store = connections.store_of(bucket)
    if not store.bucket_exists(bucket):
        if bucket != settings.results_bucket:
            problem = f"There is no bucket '{bucket}' for the rows."
            raise bucket_missing(connections, bucket, problem)
        store.make_bucket(bucket)
    return store, bucket, key


def write_object(tables: Iterable[pa.Table], form: Format, place: Place) -> int:
    """Write the rows to an object, which is replaced only by all of them. Returns their number."""
    store, bucket, key = place
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        path = Path(folder) / "rows"
        count = write_file(tables, form, path)
        store.put_file(bucket, key, path)
    return count
