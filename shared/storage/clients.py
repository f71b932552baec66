"""The two S3 libraries, set up so that nothing but our settings decides what they do.

obstore also reads ``AWS_*`` variables and both kinds of proxy variables, and a session token or
``AWS_ENDPOINT_URL_S3`` of the user's shell would win over what is passed; hence the explicit
values below. Stores are reached directly, never through a proxy of the environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any, Self

from minio import Minio
from obstore.store import S3Store
from urllib3 import BaseHTTPResponse, HTTPResponse, PoolManager, Retry, Timeout

from shared.settings import S3Settings
from shared.storage.credentials import RenewedKeys
from shared.storage.pace import paced
from shared.tls import certificates, trusting

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Credential

CONNECT_SECONDS = 3
# Bounds silence, not the whole transfer: model weights may take longer. See also ``pace``.
READ_SECONDS = 30
TRANSFER_SECONDS = 600
# For an answer in all. The bodies of errors cannot be read at a pace, and one that says that an
# object is missing would hold its reader for as long as it likes.
ANSWER_SECONDS = 30
# No retry starts after this, so a store that is down is reported within seconds.
RETRY_SECONDS = 4
RETRIES = 4
CONNECTIONS = 64
PART_BYTES = 65536


def bucket_client(
    s3: S3Settings,
    keys: RenewedKeys,
    bucket: str,
    timeout_seconds: int = TRANSFER_SECONDS,
    retries: int = RETRIES,
) -> S3Store:
    """obstore's client, which is bound to one bucket. ``timeout_seconds``: for each request."""
    url = f"{'https' if s3.secure else 'http'}://{s3.endpoint}"

    def credential() -> S3Credential:
        current = keys.retrieve()
        return {
            "access_key_id": current.access_key,
            "secret_access_key": current.secret_key,
            "token": current.session_token,
            # At once, so that each request asks again; that costs 40 microseconds of CPU time.
            "expires_at": datetime.now(UTC) if keys.may_change else None,
        }

    own_roots: ClientConfig = (
        {"root_certificate": certificates(s3.ca_file)} if s3.ca_file is not None else {}
    )
    return S3Store(
        bucket,
        config={
            "aws_endpoint_url_s3": url,
            "region": s3.region,
            "virtual_hosted_style_request": False,
            "skip_signature": False,
            "request_payer": False,
            "s3_express": False,
            "conditional_put": "etag",
        },
        client_options={
            **own_roots,
            "allow_http": not s3.secure,
            "connect_timeout": f"{CONNECT_SECONDS}s",
            "read_timeout": f"{READ_SECONDS}s",
            "timeout": f"{timeout_seconds}s",
            # The only way to switch the proxies of the environment off.
            "proxy_url": url,
            "proxy_excludes": s3.endpoint.rpartition(":")[0] or s3.endpoint,
        },
        retry_config={
            "max_retries": retries,
            "retry_timeout": timedelta(seconds=RETRY_SECONDS),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=1),
                "base": 2,
            },
        },
        credential_provider=credential,
    )


class _PacedPool(PoolManager):
    """Reads what it preloads, as listings are, at a fair pace."""

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, redirect: bool = True, **options: Any
    ) -> BaseHTTPResponse:
        preload = options.pop("preload_content", True)
        answer = super().urlopen(method, url, redirect, preload_content=False, **options)
        if not preload and answer.status < 400:
            return answer
        try:
            body = paced(parts_of(answer))
        except BaseException:
            answer.close()
            raise
        finally:
            answer.release_conn()
        return HTTPResponse(
            BytesIO(body),
            answer.headers,
            answer.status,
            reason=answer.reason,
            request_method=method,
        )


class _RetryUnread(Retry):
    """Repeats a request without waiting for the end of the refusal, which may trickle."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        *args: Any,
        **options: Any,
    ) -> Self:
        again = super().increment(method, url, response, *args, **options)
        if response is not None:
            response.close()
            response.release_conn()
        return again


def parts_of(answer: BaseHTTPResponse) -> Iterator[bytes]:
    """An answer's body as it comes, undecoded."""
    return iter(lambda: answer.read1(PART_BYTES, decode_content=False), b"")


def admin_client(
    s3: S3Settings, keys: RenewedKeys, *, single_try_seconds: int | None = None
) -> Minio:
    """The ``minio`` SDK's client. ``single_try_seconds``: then each request is sent once."""
    retries = _RetryUnread(
        total=3,
        connect=1,
        read=1,
        backoff_factor=0.2,
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,  # the last answer says more
        allowed_methods=None,  # all of them: every request of ours may be repeated
    )
    pool = _PacedPool(
        maxsize=CONNECTIONS,
        block=True,
        timeout=Timeout(connect=CONNECT_SECONDS, read=single_try_seconds or READ_SECONDS),
        retries=retries.new(total=0) if single_try_seconds else retries,
        ssl_context=trusting(s3.ca_file),
    )
    return Minio(
        s3.endpoint,
        credentials=keys,
        secure=s3.secure,
        region=s3.region,
        http_client=pool,
    )
