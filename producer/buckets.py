"""The buckets that commands name: those that results go to, and those that are missing."""

from __future__ import annotations

import difflib
from contextlib import suppress

from producer.connections import Connections
from shared.errors import HeadraceError, PermanentError
from shared.storage import BucketMissing, Store

SHOWN_NAMES = 8


def store_for(connections: Connections, bucket: str, *, purpose: str, hint: str) -> Store:
    """The store of a bucket that results may be written to; our own is made where it is missing.

    ``purpose`` names in errors what is to be written, and ``hint`` says what else to do.
    """
    settings = connections.settings
    if bucket in (settings.state_bucket, settings.models_bucket):
        raise PermanentError(
            "output_not_writable",
            f"The bucket '{bucket}' is Headrace's own, and no results may be written there.",
            hint,
        )
    store = connections.store_of(bucket)
    if not store.bucket_exists(bucket):
        if bucket != settings.results_bucket:
            problem = f"There is no bucket '{bucket}' for the {purpose}."
            raise bucket_missing(connections, bucket, problem)
        store.make_bucket(bucket)
    return store


def bucket_missing(connections: Connections, bucket: str, problem: str) -> BucketMissing:
    """The error for a bucket that is not there, with the nearest name that is."""
    own = {connections.settings.state_bucket, connections.settings.models_bucket}
    names: list[str] = []
    with suppress(HeadraceError):  # credentials that may not see them all
        names = [name for name in connections.store_of(bucket).bucket_names() if name not in own]
    advice = f"Make it first, as 'headrace upload DIR s3://{bucket}' does"
    if close := difflib.get_close_matches(bucket, names, n=1):
        advice = f"Did you mean '{close[0]}'? Else make it first"
    elif names:
        more = ", …" if len(names) > SHOWN_NAMES else ""
        advice = f"There are: {', '.join(names[:SHOWN_NAMES])}{more}. {advice}"
    return BucketMissing(
        "bucket_missing",
        problem,
        f"{advice}; where it lies in another store, name that store in config/stores.yaml.",
    )
