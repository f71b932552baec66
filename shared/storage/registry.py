"""Which store serves which bucket: ``config/stores.yaml``, and the settings' own store otherwise.

The file is read once per process, and each store is connected to once.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from threading import Lock
from urllib.parse import urlsplit

import yaml
from minio.credentials import Credentials
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.environment import user_variable
from shared.errors import UsageError
from shared.settings import S3Settings, Settings
from shared.storage.credentials import READ_ERRORS, KeySource, RenewedKeys, UsualCredentials
from shared.storage.port import Store
from shared.storage.s3 import S3ObjectStore

_lock = Lock()
_stores: dict[S3Settings | NamedStore, Store] = {}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class NamedStore(_Strict):
    """One entry of the file. ``buckets`` are shell patterns on bucket names.

    What is left out is what AWS's tools would take: their environment variables, then AWS's own.
    """

    name: str
    endpoint: str | None = Field(default=None, pattern=r"^[^/\s]+$")
    region: str | None = None
    secure: bool = True
    ca_file: Path | None = None
    credentials: KeySource = UsualCredentials()
    buckets: tuple[str, ...] = Field(min_length=1)

    def serves(self, bucket: str) -> bool:
        """Does one of the patterns match?"""
        return any(fnmatchcase(bucket, pattern) for pattern in self.buckets)

    def s3(self, keys: Credentials) -> S3Settings:
        """How to reach it."""
        region = self.region or _environment("AWS_REGION", "AWS_DEFAULT_REGION") or "us-east-1"
        url = urlsplit(f"{'https' if self.secure else 'http'}://{self.endpoint}")
        if self.endpoint is None:
            usual = f"https://s3.{region}.amazonaws.com"
            url = urlsplit(_environment("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") or usual)
        return S3Settings(
            endpoint=url.netloc,
            access_key=keys.access_key,
            secret_key=keys.secret_key,
            region=region,
            secure=url.scheme == "https",
            ca_file=self.ca_file or _environment("AWS_CA_BUNDLE"),
        )


def _environment(*names: str) -> str | None:
    return next(filter(None, map(user_variable, names)), None)


class _StoresFile(_Strict):
    stores: tuple[NamedStore, ...] = ()


def connect_store(s3: S3Settings) -> Store:
    """The store at ``s3``, the same object for the same settings. Sends no request yet."""
    with _lock:
        if s3 not in _stores:
            _stores[s3] = S3ObjectStore(s3)
        return _stores[s3]


def resolve_store(settings: Settings, bucket: str) -> Store:
    """The store that serves ``bucket``: the first in the stores file that matches, or our own.

    Raises UsageError where the file is wrong or the store's credentials are missing.
    """
    stores = _named_stores(settings.stores_file)
    named = next((store for store in stores if store.serves(bucket)), None)
    return _connect_named(named) if named else connect_store(settings.s3)


def _connect_named(named: NamedStore) -> Store:
    with _lock:
        if named not in _stores:
            keys = RenewedKeys(named.credentials.read)
            _stores[named] = S3ObjectStore(_address(named, _first(keys, named)), keys)
        return _stores[named]


def _first(keys: RenewedKeys, named: NamedStore) -> Credentials:
    try:
        return keys.retrieve()
    except READ_ERRORS as error:
        reason = error.args[0] if isinstance(error, KeyError) else error
        raise UsageError(
            "no_credentials",
            f"No credentials for the store '{named.name}': {reason}.",
            f"They come from '{named.credentials.source}', says config/stores.yaml.",
        ) from error


def _address(named: NamedStore, keys: Credentials) -> S3Settings:
    try:
        return named.s3(keys)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UsageError(
            "bad_stores",
            f"The store '{named.name}' cannot be used: {reason}.",
            "Correct its entry.",
        ) from error


@lru_cache(maxsize=8)
def _named_stores(file: Path) -> tuple[NamedStore, ...]:
    if not file.exists():
        return ()
    hint = "See the example in config/stores.yaml."
    try:
        return _StoresFile.model_validate(yaml.safe_load(file.read_text()) or {}).stores
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError("bad_stores", f"{file}: {where}: {first['msg']}.", hint) from error
    except (OSError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError("bad_stores", f"Cannot read {file}: {reason}.", hint) from error
