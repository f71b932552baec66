"""Object stores: one small port, ``Store``, and its adapter for everything that speaks S3.

The adapter is imported with the first connection: its libraries take 0.2 s.
"""

from shared.settings import S3Settings, Settings
from shared.storage.admission import wait_for_store_access
from shared.storage.errors import (
    AccessDenied,
    AlreadyExists,
    BucketMissing,
    ClockSkewed,
    CredentialsExpired,
    ObjectArchived,
    ObjectChanged,
    ObjectMissing,
    ObjectTooLarge,
    SlowDown,
    StoreUnavailable,
    UnsupportedKey,
)
from shared.storage.port import ObjectInfo, Page, Store, ensure_bucket
from shared.storage.urls import check_bucket_name, is_s3_url, parse_s3_url


def connect_store(s3: S3Settings) -> Store:
    """See ``registry``."""
    from shared.storage import registry

    return registry.connect_store(s3)


def resolve_store(settings: Settings, bucket: str) -> Store:
    """See ``registry``."""
    from shared.storage import registry

    return registry.resolve_store(settings, bucket)


__all__ = [
    "AccessDenied",
    "AlreadyExists",
    "BucketMissing",
    "ClockSkewed",
    "CredentialsExpired",
    "ObjectArchived",
    "ObjectChanged",
    "ObjectInfo",
    "ObjectMissing",
    "ObjectTooLarge",
    "Page",
    "SlowDown",
    "Store",
    "StoreUnavailable",
    "UnsupportedKey",
    "check_bucket_name",
    "connect_store",
    "ensure_bucket",
    "is_s3_url",
    "parse_s3_url",
    "resolve_store",
    "wait_for_store_access",
]
