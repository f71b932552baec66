"""What must hold before a job is written: inputs are there, the output can be written."""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import islice

from producer import Echo, Warn
from producer.buckets import bucket_missing, store_for
from producer.connections import Connections
from producer.jobs.nearest import is_nearly_wanted, literal_start, nothing_there
from producer.sources.listing import is_folder_marker, matches_patterns
from shared.errors import PermanentError
from shared.job import JobSpec
from shared.keys import output_manifest_key, output_root, part_key, rows_prefix, success_key
from shared.storage import AccessDenied, BucketMissing, ObjectInfo, Store

LOOKED_AT_KEYS = 1000
# Lists some 100,000 keys of a near store; the job itself looks through all of them.
LOOK_SECONDS = 10.0
SHOWN_KEYS = 3
PROBE = ".headrace-writable"


def require_source(connections: Connections, spec: JobSpec, tell: Echo) -> None:
    """Raise unless a key under the prefix is wanted, or it takes too long to say."""
    settings = connections.settings
    if spec.bucket in (settings.state_bucket, settings.models_bucket):
        raise PermanentError(
            "source_not_readable",
            f"The bucket '{spec.bucket}' is Headrace's own, and no worker may read images there.",
            "Copy them to another bucket.",
        )
    store = connections.store_of(spec.bucket)
    try:
        first = list(islice(store.list(spec.bucket, spec.prefix), LOOKED_AT_KEYS))
    except BucketMissing as error:
        raise bucket_missing(connections, spec.bucket, error.message) from error
    if any(_is_wanted(spec, info) for info in first):
        return
    if not first:
        raise nothing_there(store, spec.bucket, spec.prefix)
    if len(first) < LOOKED_AT_KEYS or not _may_be_further(store, spec, tell):
        raise _nothing_wanted(spec, [info.key for info in first])


def require_output(connections: Connections, spec: JobSpec, warn: Warn) -> None:
    """Raise unless the collector can write the output; our own bucket is made where it is missing.

    The collector's rights count, not those of who enqueues: for our own store they stand in
    ``producer.stack.rights.store_identities``; in other stores all have the same.
    """
    bucket = spec.output_bucket
    store = store_for(connections, bucket, purpose="output", hint="Choose another --output.")
    _require_free(connections, store, spec)
    _try_to_write(store, spec)
    if spec.bucket == bucket and _is_listed(spec, part_key(spec, 0)):
        warn(
            f"the output lies under the source, s3://{bucket}/{spec.prefix}: what is written there "
            "is listed as images from the next job on. Choose another --output, or --exclude it."
        )


def _require_free(connections: Connections, store: Store, spec: JobSpec) -> None:
    """Raise where the output folder is that of another job, which the job would end at."""
    bucket, others = spec.output_bucket, (output_manifest_key(spec), success_key(spec))
    try:
        is_free = not any(store.list(bucket, rows_prefix(spec))) and not any(
            store.exists(bucket, key) for key in others
        )
    except AccessDenied:  # the collector needs no more than to write
        return
    if not is_free and not connections.jobs.has_spec(spec.job_id):  # nobody was quicker with it
        raise PermanentError(
            "output_taken",
            f"s3://{bucket}/{output_root(spec)} holds the output of another job.",
            "Choose another --job-id or --output, or delete that folder.",
        )


def _try_to_write(store: Store, spec: JobSpec) -> None:
    bucket, key = spec.output_bucket, f"{output_root(spec)}{PROBE}"
    try:
        store.create(bucket, key, b"")
    except PermanentError as error:
        raise type(error)(
            "output_not_writable",
            f"The output bucket '{bucket}' cannot be written: {error.message}",
            "Check what these credentials may do, or take another --output.",
        ) from error
    with suppress(AccessDenied):  # no job needs to delete there
        store.delete(bucket, key)


def _is_wanted(spec: JobSpec, info: ObjectInfo) -> bool:
    return matches_patterns(spec, info.key) and not is_folder_marker(info)


def _is_listed(spec: JobSpec, key: str) -> bool:
    return key.startswith(spec.prefix) and matches_patterns(spec, key)


def _may_be_further(store: Store, spec: JobSpec, tell: Echo) -> bool:
    """Is there a key that is wanted? Also true where time ran out."""
    tell(f"looking for a key that is wanted by {_patterns(spec)}")
    ends_at = time.monotonic() + LOOK_SECONDS
    for start in sorted(_starts(spec)):
        for count, info in enumerate(store.list(spec.bucket, start), 1):
            if _is_wanted(spec, info):
                return True
            if count % LOOKED_AT_KEYS == 0 and time.monotonic() > ends_at:
                tell(f"none was found in {LOOK_SECONDS:g} s; the job looks through all keys")
                return True
    return False


def _starts(spec: JobSpec) -> set[str]:
    """The prefixes under which keys may be that the patterns want."""
    starts = {literal_start(pattern) for pattern in spec.include} or {spec.prefix}
    if any(spec.prefix.startswith(start) for start in starts):
        return {spec.prefix}
    return {start for start in starts if start.startswith(spec.prefix)}


def _nothing_wanted(spec: JobSpec, found: list[str]) -> PermanentError:
    where = f"s3://{spec.bucket}/{spec.prefix}"
    if not (spec.include or spec.exclude):
        return PermanentError(
            "no_images", f"There are only folder markers under {where!r}.", "Check the prefix."
        )
    near = sorted(found, key=lambda key: not is_nearly_wanted(spec, key))[:SHOWN_KEYS]
    return PermanentError(
        "no_images",
        f"No key under {where!r} is wanted by {_patterns(spec)}.",
        f"There are, for example, {', '.join(map(repr, near))}; patterns match whole keys, and "
        "small and capital letters differ.",
    )


def _patterns(spec: JobSpec) -> str:
    given = {"--include": spec.include, "--exclude": spec.exclude}
    named = [f"{option} {pattern!r}" for option, patterns in given.items() for pattern in patterns]
    return " ".join(named) or "the listing, which leaves out folder markers"
