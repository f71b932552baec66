"""Signed links to images, for readers who have no keys to the store."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import pyarrow as pa

from shared.durations import duration
from shared.errors import UsageError
from shared.storage import Store

# S3's own bound.
MAX_LINK_TIME = timedelta(days=7)
_LOCAL = re.compile(r"localhost|127\.[0-9.]+|::1|0\.0\.0\.0")


def link_time(is_signed: bool, text: str | None) -> timedelta | None:
    """How long links work, as in ``90m``, ``12h`` or ``7d``; None for no links.

    Raises UsageError.
    """
    if not is_signed:
        if text is not None:
            raise UsageError("usage", "--expires is for --links signed.", "")
        return None
    if text is None:
        return MAX_LINK_TIME
    time = duration(text)
    if time is None or not timedelta() < time <= MAX_LINK_TIME:
        raise UsageError(
            "bad_link_time",
            f"--expires: {text!r} is no time from 1s to 7d, the longest that S3 allows.",
            "Say --expires 12h, for example.",
        )
    return time


def with_links(
    tables: Iterable[pa.Table], store: Store, bucket: str, time: timedelta
) -> Iterator[pa.Table]:
    """The rows with a link in place of each ``uri``. Raises the store's errors."""
    for table in tables:
        links = [store.signed_url(bucket, key, time) for key in table["key"].to_pylist()]
        place = table.schema.get_field_index("uri")
        yield table.set_column(place, table.schema.field(place), pa.array(links, pa.string()))


def local_host(link: str) -> str | None:
    """The host of a link that works on this machine alone; None for any other."""
    host = urlsplit(link).hostname or ""
    return host if _LOCAL.fullmatch(host) else None
