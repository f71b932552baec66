"""Which store serves which bucket: ``config/stores.yaml``, and the settings' own store otherwise.

The file is read once per process, and each store is connected to once.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import UsageError
from shared.settings import PROJECT_ROOT, S3Settings, Settings
from shared.storage.port import Store
from shared.storage.s3 import S3ObjectStore

STORES_FILE = PROJECT_ROOT / "config" / "stores.yaml"

_lock = Lock()
_stores: dict[tuple[str, str, str, str, bool], Store] = {}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class EnvironmentCredentials(_Strict):
    """The names of the environment variables that hold the keys."""

    source: Literal["environment"] = Field(alias="from")
    access_key: str = "AWS_ACCESS_KEY_ID"
    secret_key: str = "AWS_SECRET_ACCESS_KEY"

    def read(self) -> tuple[str, str]:
        """Access key and secret key. Raises KeyError."""
        return os.environ[self.access_key], os.environ[self.secret_key]


class FileCredentials(_Strict):
    """A profile in a credentials file as AWS's tools write it."""

    source: Literal["file"] = Field(alias="from")
    path: Path = Path("~/.aws/credentials")
    profile: str = "default"

    def read(self) -> tuple[str, str]:
        """Access key and secret key. Raises KeyError, OSError, configparser.Error."""
        parser = configparser.RawConfigParser()
        parser.read_string(self.path.expanduser().read_text())
        profile: Mapping[str, str] = parser[self.profile]
        return profile["aws_access_key_id"], profile["aws_secret_access_key"]


class InstanceCredentials(_Strict):
    """The role of the machine."""

    source: Literal["instance"] = Field(alias="from")

    def read(self) -> tuple[str, str]:
        """Raises KeyError: nothing here asks the machine yet."""
        raise KeyError("instance roles are not supported, use 'environment' or 'file'")


class NamedStore(_Strict):
    """One entry of the file. ``buckets`` are shell patterns on bucket names."""

    name: str
    endpoint: str = Field(pattern=r"^[^/\s]+$")
    region: str = "us-east-1"
    secure: bool = True
    credentials: Annotated[
        EnvironmentCredentials | FileCredentials | InstanceCredentials,
        Field(discriminator="source"),
    ]
    buckets: tuple[str, ...] = Field(min_length=1)

    def serves(self, bucket: str) -> bool:
        """Does one of the patterns match?"""
        return any(fnmatchcase(bucket, pattern) for pattern in self.buckets)

    def s3(self) -> S3Settings:
        """How to reach it. Raises UsageError where the credentials cannot be had."""
        try:
            access_key, secret_key = self.credentials.read()
        except (KeyError, OSError, configparser.Error) as error:
            reason = error.args[0] if isinstance(error, KeyError) else error
            raise UsageError(
                "no_credentials",
                f"No credentials for the store '{self.name}': {reason}.",
                f"They come from '{self.credentials.source}', says config/stores.yaml.",
            ) from error
        return S3Settings(
            endpoint=self.endpoint,
            access_key=access_key,
            secret_key=secret_key,
            region=self.region,
            secure=self.secure,
        )


class _StoresFile(_Strict):
    stores: tuple[NamedStore, ...] = ()


def connect(s3: S3Settings) -> Store:
    """The store at ``s3``, the same object for the same settings. Sends no request yet."""
    identity = (s3.endpoint, s3.access_key, s3.secret_key, s3.region, s3.secure)
    with _lock:
        if identity not in _stores:
            _stores[identity] = S3ObjectStore(s3)
        return _stores[identity]


def resolve_store(settings: Settings, bucket: str, file: Path = STORES_FILE) -> Store:
    """The store that serves ``bucket``: the first in ``file`` that matches, else the settings'.

    Raises UsageError where the file is wrong or the store's credentials are missing.
    """
    named = next((store for store in _named_stores(file) if store.serves(bucket)), None)
    return connect(named.s3() if named else settings.s3)


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
