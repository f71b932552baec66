"""What can go wrong with a store, and how the two libraries' errors become that.

The libraries take 0.15 s to import, and are imported only once something has gone wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree.ElementTree import ParseError

from shared.errors import HeadraceError, PermanentError, TransientError


class ObjectMissing(PermanentError):
    """There is no object under this key."""


class ObjectChanged(PermanentError):
    """The object is not the version that was asked for."""


class ObjectTooLarge(PermanentError):
    """The object has more bytes than the caller takes."""


class AlreadyExists(PermanentError):
    """The name is taken by somebody else."""


class BucketMissing(PermanentError):
    """There is no such bucket."""


class AccessDenied(PermanentError):
    """The store refuses these credentials."""


class ObjectArchived(PermanentError):
    """The object lies in a storage class that has to be restored before it can be read."""


class UnknownKeys(AccessDenied):
    """The store does not know these keys, or not with this secret."""


class UnsupportedKey(PermanentError):
    """No request can be formed for this key, or for what was to be done with it."""


class StoreUnavailable(TransientError):
    """The store does not answer, or answers that it cannot now."""


class ClockSkewed(StoreUnavailable):
    """The store takes no request that is signed with this machine's time."""


class SlowDown(StoreUnavailable):
    """The store asks for fewer requests."""


class CredentialsExpired(StoreUnavailable):
    """The store refuses keys that were good, until there are new ones."""


_UNKNOWN = {"InvalidAccessKeyId", "SignatureDoesNotMatch"}
# What stores answer to a session token that has ended.
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "InvalidTokenId", "TokenRefreshRequired"}
_SLOW_DOWN = {"SlowDown", "SlowDownRead", "SlowDownWrite", "TooManyRequests"}

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")


@contextmanager
def translated(
    endpoint: str, bucket: str, key: str | None = None, *, is_session: bool = False
) -> Iterator[None]:
    """Turn the libraries' errors into ours, in one line that says where and what to do.

    ``is_session``: the keys are a session's, which MinIO no longer knows when it has ended.
    """
    try:
        yield
    except _library_errors() as error:
        if is_session and _answer(error)[1] == "InvalidAccessKeyId":
            raise credentials_expired(endpoint, "the session has ended") from error
        raise _translate(error, endpoint, bucket, location(bucket, key)) from error


def _library_errors() -> tuple[type[Exception], ...]:
    """Both libraries and the socket layer raise these; anything else is a defect and passes."""
    from minio.error import MinioException
    from obstore.exceptions import BaseError
    from urllib3.exceptions import HTTPError

    return (BaseError, MinioException, HTTPError, ParseError, OSError, ValueError)


def location(bucket: str, key: str | None = None) -> str:
    """``s3://bucket/key`` for a message of one line: what does not print is escaped."""
    where = f"s3://{bucket}" if key is None else f"s3://{bucket}/{key}"
    return where if where.isprintable() else f"{where!r}"[1:-1]


def bucket_missing(endpoint: str, bucket: str) -> BucketMissing:
    """The error for a bucket that is not there."""
    return BucketMissing(
        "bucket_missing",
        f"There is no bucket '{bucket}' at {endpoint}.",
        "Check its name, or upload something into it first.",
    )


def credentials_expired(endpoint: str, detail: str) -> CredentialsExpired:
    """The error for keys that have come to their end, or that cannot be had now."""
    return CredentialsExpired(
        "credentials_expired",
        f"The credentials for {endpoint} are not valid: {detail or 'expired'}.",
        "Renew them in the place that config/stores.yaml names.",
    )


def _translate(error: Exception, endpoint: str, bucket: str, where: str) -> HeadraceError:
    status, code, message = _answer(error)
    detail = (message or code).rstrip(".")
    if isinstance(error, ValueError):
        return UnsupportedKey(
            "unsupported_key",
            f"{where} cannot be used at {endpoint}: {error}.",
            "Copy the object to another name.",
        )
    if code == "NoSuchBucket":
        return bucket_missing(endpoint, bucket)
    if status == 404:
        return ObjectMissing("object_missing", f"There is no {where} at {endpoint}.")
    if code == "RequestTimeTooSkewed":
        return ClockSkewed(
            "clock_skewed",
            f"The clock of this machine is not that of {endpoint}, which refuses {where}.",
            "Set the clock.",
        )
    if code in _EXPIRED:
        return credentials_expired(endpoint, detail)
    if code == "InvalidObjectState":
        return ObjectArchived(
            "object_archived",
            f"{where} is archived at {endpoint}: {detail}.",
            "Restore it there first.",
        )
    if code in _SLOW_DOWN or status == 429:
        return SlowDown("slow_down", f"{endpoint} asks for fewer requests: {detail or status}.")
    if status in {401, 403}:
        kind = UnknownKeys if code in _UNKNOWN else AccessDenied
        return kind(
            "access_denied",
            f"{endpoint} refuses {where}: {detail or 'access denied'}.",
            "Check the credentials of this store, and what they may do.",
        )
    if code == "BucketAlreadyExists":
        return AlreadyExists(
            "bucket_taken",
            f"The bucket name '{bucket}' is taken at {endpoint}.",
            "Choose another.",
        )
    if 400 <= status < 500 and status not in {408, 429}:
        return PermanentError("store_refused", f"{endpoint} refuses {where}: {detail or status}.")
    return StoreUnavailable(
        "store_unavailable",
        f"{endpoint} does not answer for {where}: {detail or _reason(error, status)}.",
        "Check the endpoint, and that the store is up ('headrace ps').",
    )


def _answer(error: BaseException) -> tuple[int, str, str]:
    """HTTP status (0: no answer that we understand), S3 code and message, as far as known."""
    from minio.error import S3Error
    from obstore.exceptions import BaseError

    if isinstance(error, S3Error):
        return error.response.status, error.code or "", error.message or ""
    if isinstance(error, BaseError | FileNotFoundError):
        text = str(error)
        found = (pattern.search(text) for pattern in (_STATUS, _CODE, _MESSAGE))
        status, code, message = (match.group(1) if match else "" for match in found)
        return int(status or 0), code, message
    return 0, "", ""


def _reason(error: Exception, status: int) -> str:
    if isinstance(error, ParseError):
        return "it is no S3 server"
    text = str(error)
    for sign, reason in (
        ("refused", "connection refused"),
        ("ertificate", "its certificate is not trusted"),
        ("resolve", "unknown host"),
        ("dns error", "unknown host"),
        ("imed out", "timed out"),
        ("TimedOut", "timed out"),
        ("non-XML", "it is no S3 server"),
    ):
        if sign in text:
            return reason
    return f"status {status}" if status else "no connection"
