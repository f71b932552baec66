"""What somebody may have meant who named a source, a prefix or a pattern that is not there."""

from __future__ import annotations

import difflib
import re
import shlex
from contextlib import suppress
from fnmatch import fnmatchcase

from producer.buckets import SHOWN_NAMES
from shared.errors import HeadraceError, PermanentError, UsageError
from shared.job import JobSpec
from shared.paths import exists, expanded
from shared.storage import Store, check_bucket_name, parse_s3_url

_LITERAL = re.compile(r"[^*?\[]*")


def parse_source(url: str) -> tuple[str, str]:
    """Bucket and prefix of a job's source. Raises UsageError, also for a folder of this machine."""
    try:
        return parse_s3_url(url)
    except UsageError as error:
        is_path = url.startswith(("/", ".", "~")) or exists(url)
        if "://" in url or not is_path:
            raise
        raise UsageError(
            error.code,
            f"{url!r} is a place on this machine, and jobs read from buckets.",
            f"Upload it first: headrace upload {shlex.quote(url)} s3://{_bucket_for(url)}",
        ) from error


def nothing_there(store: Store, bucket: str, prefix: str) -> PermanentError:
    """The error for a prefix with nothing under it."""
    problem = f"There is nothing under {f's3://{bucket}/{prefix}'!r}."
    start = literal_start(prefix)
    if start != prefix:
        folder = start[: start.rfind("/") + 1]
        hint = f"A URL is taken literally: say s3://{bucket}/{folder} --include {prefix!r}."
    elif not prefix:
        hint = f"Upload something first: headrace upload DIR s3://{bucket}"
    else:
        hint = _neighbours(store, bucket, prefix)
    return PermanentError("no_images", problem, hint)


def is_nearly_wanted(spec: JobSpec, key: str) -> bool:
    """Does a pattern match the end of the key, whatever the size of its letters?"""
    patterns = (f"*{pattern.lower()}" for pattern in spec.include)
    return any(fnmatchcase(key.lower(), pattern) for pattern in patterns)


def literal_start(pattern: str) -> str:
    """The pattern up to its first character that stands for others."""
    found = _LITERAL.match(pattern)
    assert found is not None
    return found[0]


def _neighbours(store: Store, bucket: str, prefix: str) -> str:
    """What there is instead, in the folder that is there."""
    folder = prefix
    while folder:
        folder = folder[: folder.rstrip("/").rfind("/") + 1]
        with suppress(HeadraceError):
            level = store.list_level(bucket, folder)
            names = level.folders + [info.key for info in level.objects] if level else []
            if close := difflib.get_close_matches(prefix, names, n=1):
                return f"Did you mean {f's3://{bucket}/{close[0]}'!r}?"
            if names:
                more = ", …" if len(names) > SHOWN_NAMES else ""
                return f"There are: {', '.join(map(repr, names[:SHOWN_NAMES]))}{more}."
    return "Check the prefix."


def _bucket_for(path: str) -> str:
    """The folder's name where it can be a bucket's."""
    name = expanded(path).absolute().name.lower()
    try:
        check_bucket_name(name)
    except UsageError:
        return "BUCKET"
    return name
