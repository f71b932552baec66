"""``s3://bucket/prefix``, taken literally: nothing in it is decoded."""

from __future__ import annotations

import re

from shared.errors import UsageError

SCHEME = "s3://"
_BUCKET = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PATTERN = re.compile(r"[*?\[\]]")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")


def is_s3_url(text: str) -> bool:
    """Does it begin as one?"""
    return text[: len(SCHEME)].lower() == SCHEME


def parse_s3_url(url: str) -> tuple[str, str]:
    """Split ``s3://bucket/prefix`` into bucket and prefix, which may be empty.

    The prefix keeps ``?``, ``#``, ``%`` and a trailing slash as they are. Raises UsageError.
    """
    if not is_s3_url(url):
        raise UsageError(
            "bad_s3_url", f"{url!r} is not an S3 URL.", "Write it as s3://BUCKET/PREFIX."
        )
    try:
        url.encode()
    except UnicodeEncodeError as error:
        raise UsageError("bad_s3_url", f"{url!r} is not UTF-8.", "Keys are UTF-8.") from error
    bucket, _, prefix = url[len(SCHEME) :].partition("/")
    check_bucket_name(bucket)
    return bucket, prefix


def check_bucket_name(bucket: str) -> None:
    """Raise UsageError unless S3 allows the name."""
    if not _BUCKET.fullmatch(bucket) or _ADDRESS.fullmatch(bucket):
        hint = "Use 3 to 63 lower-case letters, digits, dots and hyphens, as in s3://my-photos/a."
        if _PATTERN.search(bucket):
            hint = "Name one bucket: patterns are for keys, as in --include '*.jpg'."
        raise UsageError("bad_bucket_name", f"{bucket!r} is not a bucket name.", hint)
