"""The rows of a job and its retries as one object in a bucket."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from producer.buckets import store_for
from producer.connections import Connections
from producer.exports.formats import AnyFormat
from producer.exports.writing import write_file
from shared.errors import UsageError
from shared.storage import Store, parse_s3_url

Place = tuple[Store, str, str]


def place_for(connections: Connections, url: str) -> Place:
    """Store, bucket and key of ``s3://BUCKET/KEY``; our own results bucket is made if missing.

    Raises UsageError where it names no object, or one that could be part of a job's output: a
    marker, a manifest, or anything in a folder ``rows``, which readers take whole.
    """
    bucket, key = parse_s3_url(url)
    if not key or key.endswith("/"):
        raise UsageError("bad_output", f"{url!r} names no object.", _advice(bucket))
    *folders, name = key.split("/")
    if "rows" in folders or name in ("_SUCCESS", "manifest.json"):
        raise UsageError(
            "bad_output",
            f"{url!r} could be part of a job's own output: its folder 'rows', '_SUCCESS' or "
            "'manifest.json'.",
            _advice(bucket),
        )
    store = store_for(connections, bucket, purpose="rows", hint="Choose another path.")
    return store, bucket, key


def _advice(bucket: str) -> str:
    """A place in no job's folder, which ``rm`` deletes."""
    return f"Say 's3://{bucket}/merged.parquet', for example."


def write_object(
    tables: Iterable[pa.Table], schema: pa.Schema, form: AnyFormat, place: Place
) -> int:
    """Write the rows to an object, which is replaced only by all of them. Returns their number."""
    store, bucket, key = place
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        path = Path(folder) / "rows"
        count = write_file(tables, schema, form, path)
        store.put_file(bucket, key, path)
    return count
