"""What must hold before a job is written: inputs are there, the output can be written."""

from __future__ import annotations

from itertools import islice

from producer.connections import Connections
from producer.listing import is_folder_marker, wants
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
        if wants(spec, info.key) and not is_folder_marker(info):
            return
    if listed == LOOKED_AT_KEYS:
        return
    where = f"s3://{spec.bucket}/{spec.prefix}"
    if listed:
        raise PermanentError(
            "no_images",
            f"None of the {listed} objects under {where!a} is wanted by {_patterns(spec)}.",
            "The patterns match whole keys, as in --include '*.jpg'.",
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


def _patterns(spec: JobSpec) -> str:
    given = {"--include": spec.include, "--exclude": spec.exclude}
    named = [f"{option} {pattern!a}" for option, patterns in given.items() for pattern in patterns]
    return " ".join(named) or "the listing, which leaves out folder markers"
