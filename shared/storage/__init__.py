"""Object stores: one small port, ``Store``, and its adapter for everything that speaks S3."""

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
from shared.storage.registry import connect_store, resolve_store
from shared.storage.urls import check_bucket_name, is_s3_url, parse_s3_url

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
