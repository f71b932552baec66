"""What must hold before a job is written: inputs are there, the output can be written."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from itertools import islice

from producer.connections import Connections
from shared.errors import PermanentError
from shared.job import JobSpec
from shared.storage import BucketMissing

LOOKED_AT_KEYS = 1000
PROBE = ".headrace-writable"


def require_images(connections: Connections, spec: JobSpec) -> None:
    """Raise unless one of the first keys is wanted, or there are too many to look at all."""
    store = connections.store_of(spec.bucket)
    listed = 0
    for info in islice(store.list(spec.bucket, spec.prefix), LOOKED_AT_KEYS):
        listed += 1
        if is_wanted(spec, info.key):
            return
    if listed == LOOKED_AT_KEYS:
        return
    where = f"s3://{spec.bucket}/{spec.prefix}"
    if listed:
        raise PermanentError(
            "no_images",
            f"None of the {listed} objects under {where!a} is wanted.",
            "Check --include and --exclude; they match whole keys.",
        )
    raise PermanentError("no_images", f"There is nothing under {where!a}.", "Check the prefix.")


def require_output(connections: Connections, spec: JobSpec) -> None:
    """Raise unless the output bucket can be written; our own is made where it is missing."""
    store, bucket = connections.store_of(spec.output_bucket), spec.output_bucket
    key = f"{spec.output_prefix.strip('/')}/{PROBE}".lstrip("/")
    if not store.bucket_exists(bucket):
        if bucket != connections.settings.results_bucket:
            raise BucketMissing(
                "bucket_missing",
                f"There is no bucket '{bucket}' for the output.",
                "Make it first, or leave --output out.",
            )
        store.make_bucket(bucket)
    try:
        store.create(bucket, key, b"")
        store.delete(bucket, key)
    except PermanentError as error:
        raise type(error)(
            "output_not_writable",
            f"The output bucket '{bucket}' cannot be written: {error.message}",
            "Check what these credentials may do, or take another --output.",
        ) from error


def warn_without_producer(connections: Connections, warn: Callable[[str], None]) -> None:
    """Say that a job will wait where no producer lives. Raises TransientError."""
    if not any(worker.role == "producer" for worker in connections.ledger.workers()):
        warn("queued; no producer is running: headrace up")


def is_wanted(spec: JobSpec, key: str) -> bool:
    """Whether the listing takes the key."""
    if key.endswith("/"):
        return False
    if spec.include is not None and not fnmatchcase(key, spec.include):
        return False
    return spec.exclude is None or not fnmatchcase(key, spec.exclude)
