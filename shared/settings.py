"""Where everything is: one settings object, read from the home's file and the environment.

``headrace up`` writes ``<home>/settings.json`` (mode 0600). Environment variables named
``HEADRACE_*`` (``HEADRACE_BROKER_URL``, ``HEADRACE_S3__ENDPOINT``, ...) override the file, and are
all that is needed where there is no file, as in a container. ``HEADRACE_SETTINGS_FILE`` names
another file, relative to the home: each role of the local stack has one, with its own secrets.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from shared.environment import uses_docker
from shared.errors import UsageError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
SETTINGS_FILE = "settings.json"
SETTINGS_FILE_VARIABLE = "HEADRACE_SETTINGS_FILE"

Secret = Annotated[str, Field(repr=False)]

# What servers come with, and what people type until they mean it.
_DEFAULTS = {
    *("", "admin", "any", "changeme", "default", "guest", "headrace", "minio", "minio123"),
    *("minioadmin", "password", "redis", "root", "secret", "seaweedfs", "test", "valkey"),
}


def check_guarded(url: str, *secrets: str) -> None:
    """Raise ValueError where a host beyond this machine has an empty or a default secret."""
    host = urlsplit(url).hostname
    if host is None or host == "localhost" or host.startswith("127.") or host == "::1":
        return
    if any(secret.lower() in _DEFAULTS for secret in secrets):
        raise ValueError(f"{host} is beyond this machine, and a password is empty or a default one")


class S3Settings(BaseModel):
    """How to reach one S3-compatible store. ``endpoint`` is ``host:port``, without a scheme.

    ``ca_file``: PEM certificates that are trusted beside the public ones.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str
    access_key: Secret
    secret_key: Secret
    region: str = "us-east-1"
    secure: bool = False
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _guarded(self) -> S3Settings:
        check_guarded(f"//{self.endpoint}", self.access_key, self.secret_key)
        return self


class RingSettings(BaseModel):
    """The staging ring of this host: ``slot_counts`` slots of each of ``slot_bytes``."""

    model_config = ConfigDict(extra="forbid")

    directory: Path
    slot_bytes: tuple[int, ...]
    slot_counts: tuple[int, ...]


class Settings(BaseSettings):
    """Everything that a process of ours has to know about its surroundings."""

    model_config = SettingsConfigDict(
        env_prefix="HEADRACE_", env_nested_delimiter="__", extra="ignore"
    )

    home: Path
    mode: str = "local"
    host_id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    broker_url: Secret
    ledger_url: Secret
    staging_url: Secret = ""
    # What waits there for devices of other hosts, together.
    staging_bytes: int = Field(default=256 * 2**20, ge=1)
    s3: S3Settings
    ca_file: Path | None = None
    ring: RingSettings
    signing_keys: tuple[str, ...] = Field(min_length=1, max_length=2, repr=False)
    flower_url: str = ""
    state_bucket: str = "state"
    models_bucket: str = "models"
    results_bucket: str = "results"
    stores_file: Path = PROJECT_ROOT / "config" / "stores.yaml"
    lease_seconds: float = Field(default=6.0, gt=0, le=10)
    # Touched whenever the lease is renewed, so that a health check costs no process of Python.
    alive_file: Path | None = None
    preprocess_queue_chunks: int = Field(default=16, ge=1)

    @property
    def own_buckets(self) -> tuple[str, str, str]:
        """Those that must be there before any role starts."""
        return self.state_bucket, self.models_bucket, self.results_bucket

    @model_validator(mode="after")
    def _trusting(self) -> Settings:
        """One authority for all of our own servers, unless the store has another."""
        if self.s3.ca_file is None:
            self.s3 = self.s3.model_copy(update={"ca_file": self.ca_file})
        return self

    @field_validator("broker_url", "ledger_url", "staging_url")
    @classmethod
    def _guarded(cls, url: str) -> str:
        check_guarded(url, unquote(urlsplit(url).password or ""))
        return url

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, which arrives as the constructor's arguments."""
        return env_settings, init_settings


def default_home() -> Path:
    """``$HEADRACE_HOME``, or ``.headrace`` beside the project, whatever the current directory.

    With the profile ``docker`` its folder of that name, so that both kinds of stack may be up.
    """
    configured = os.environ.get("HEADRACE_HOME")
    home = Path(configured).expanduser().absolute() if configured else PROJECT_ROOT / ".headrace"
    return home / "docker" if uses_docker() else home


def load_settings(home: Path | None = None, file: str | None = None) -> Settings:
    """Read the settings of ``home``. Raises UsageError where there are none or they are wrong.

    ``file``: its name, by default the one that the environment says.
    """
    home = home or default_home()
    path = home / (file or os.environ.get(SETTINGS_FILE_VARIABLE) or SETTINGS_FILE)
    try:
        values = json.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise UsageError(
            "bad_settings",
            f"Cannot read {path}: {error}.",
            "Correct it, or remove it and run 'headrace up'.",
        ) from error
    try:
        # The environment would win over the home that was asked for.
        return Settings(**{**values, "home": home}).model_copy(update={"home": home})
    except ValidationError as error:
        if not values and SETTINGS_FILE_VARIABLE in os.environ:
            raise UsageError(
                "no_settings",
                f"There is no {path}, which {SETTINGS_FILE_VARIABLE} names.",
                "Mount the secret there.",
            ) from error
        if not values:
            in_containers = (home / "docker" / SETTINGS_FILE).exists()
            hint = "For the one in containers set HEADRACE_PROFILE=docker."
            raise UsageError(
                "no_stack",
                f"No stack is set up in {home}.",
                hint if in_containers else "Run 'headrace up' first.",
            ) from error
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            "bad_settings", f"{path}: {where}: {first['msg']}.", "Correct it or run 'headrace up'."
        ) from error
