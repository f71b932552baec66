"""Where a store's keys come from, and how those that expire are renewed.

Keys are ``minio``'s ``Credentials``: access key, secret key, perhaps a session token and when it
expires.
"""

from __future__ import annotations

import configparser
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from minio.credentials import Credentials, IamAwsProvider, Provider
from pydantic import BaseModel, ConfigDict, Field
from urllib3 import PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError

from shared.environment import user_variable
from shared.settings import S3Settings

# What reading keys may raise.
READ_ERRORS = (KeyError, ValueError, OSError, HTTPError, configparser.Error)
# Keys are read again this long before they expire, or this long after they were read.
RENEW_SECONDS = 60.0
# Refused or late keys are read again no sooner than this.
PAUSE_SECONDS = 1.0
INSTANCE_SECONDS = 2.0


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class EnvironmentCredentials(_Source):
    """The names of the environment variables that hold the keys."""

    source: Literal["environment"] = Field(default="environment", alias="from")
    access_key: str = "AWS_ACCESS_KEY_ID"
    secret_key: str = "AWS_SECRET_ACCESS_KEY"
    session_token: str | None = None

    def read(self) -> Credentials:
        """The keys. Raises one of READ_ERRORS."""
        own_names = self.access_key != "AWS_ACCESS_KEY_ID"  # whose token is not AWS's
        token = self.session_token or ("" if own_names else "AWS_SESSION_TOKEN")
        return Credentials(
            _set(self.access_key), _set(self.secret_key), user_variable(token) or None
        )


def _set(name: str) -> str:
    value = user_variable(name)
    if value is None:
        raise KeyError(name)
    return value


class FileCredentials(_Source):
    """A profile in a credentials file as AWS's tools write it."""

    source: Literal["file"] = Field(default="file", alias="from")
    path: Path | None = None
    profile: str | None = None

    def read(self) -> Credentials:
        """The keys. Raises one of READ_ERRORS."""
        usual = user_variable("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
        parser = configparser.RawConfigParser()
        parser.read_string((self.path or Path(usual)).expanduser().read_text())
        name = self.profile or user_variable("AWS_PROFILE") or "default"
        profile: Mapping[str, str] = parser[name]
        return Credentials(
            profile["aws_access_key_id"],
            profile["aws_secret_access_key"],
            profile.get("aws_session_token"),
        )


class InstanceCredentials(_Source):
    """The role of the machine, container or service account that this runs as."""

    source: Literal["instance"] = Field(default="instance", alias="from")

    def read(self) -> Credentials:
        """The keys. Raises one of READ_ERRORS."""
        pool = PoolManager(timeout=Timeout(INSTANCE_SECONDS), retries=Retry(1, redirect=False))
        return IamAwsProvider(http_client=pool).retrieve()


class UsualCredentials(_Source):
    """The first that there is: the environment's, the file's, the machine's, as AWS's tools do."""

    source: Literal["aws"] = Field(default="aws", alias="from")

    def read(self) -> Credentials:
        """The keys. Raises one of READ_ERRORS."""
        for source in (EnvironmentCredentials(), FileCredentials()):
            try:
                return source.read()
            except READ_ERRORS:
                continue
        return InstanceCredentials().read()


KeySource = Annotated[
    EnvironmentCredentials | FileCredentials | InstanceCredentials | UsualCredentials,
    Field(discriminator="source"),
]


class RenewedKeys(Provider):  # type: ignore[misc]
    """Keys that are read again before they expire, once a minute, or when they were refused.

    Thread-safe. Those in hand serve on while they cannot be read and have not expired.
    ``may_change``: whoever has them has to ask for them each time.
    """

    def __init__(
        self,
        read: Callable[[], Credentials],
        clock: Callable[[], float] = time.monotonic,
        *,
        may_change: bool = True,
    ) -> None:
        self.may_change = may_change
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._held: Credentials | None = None
        self._read_at = 0.0

    def retrieve(self) -> Credentials:
        """The keys of this moment. Raises one of READ_ERRORS where there are none."""
        with self._lock:
            if self._held is None or self._is_due(self._held):
                self._renew()
            assert self._held is not None
            return self._held

    def renewed_since(self, used: Credentials) -> bool:
        """Are there other keys now than these, which the store refused?"""
        with self._lock:
            if self._held == used and self._clock() - self._read_at > PAUSE_SECONDS:
                self._renew()
            return bool(self._held != used)

    def _renew(self) -> None:
        try:
            self._held = self._read()
        except READ_ERRORS:
            if self._held is None or self._held.is_expired():
                raise
        self._read_at = self._clock()

    def _is_due(self, keys: Credentials) -> bool:
        age_seconds = self._clock() - self._read_at
        if keys.expiration is None or age_seconds < PAUSE_SECONDS:
            return age_seconds > RENEW_SECONDS
        left = keys.expiration.replace(tzinfo=UTC) - datetime.now(UTC)
        return bool(left.total_seconds() < RENEW_SECONDS)


def static_keys(s3: S3Settings) -> RenewedKeys:
    """The keys in the settings, which do not change."""
    keys = Credentials(s3.access_key, s3.secret_key)
    return RenewedKeys(lambda: keys, may_change=False)
