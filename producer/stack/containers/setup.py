"""Make a store ready for work, once before the roles start.

``python -m producer.stack.containers.setup FILE``, where ``FILE`` is a ``StoreAccess`` as JSON, and
the settings are the administrator's. Everything may be done again: buckets that are there stay,
users and policies are set to what the file says.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from shared.environment import settle

if __name__ == "__main__":
    settle()

from minio import MinioAdmin
from minio.credentials import StaticProvider
from minio.error import MinioAdminException
from pydantic import BaseModel, ValidationError
from urllib3.exceptions import HTTPError

from producer.models import pull_model
from shared.catalog import Catalog
from shared.errors import HeadraceError, PermanentError, TransientError
from shared.settings import Settings, load_settings
from shared.storage import connect_store, ensure_bucket, resolve_store

log = logging.getLogger("setup")


class StoreAccess(BaseModel):
    """Who may do what at the store: access and secret key, and a policy document, by role."""

    keys: dict[str, tuple[str, str]]
    policies: dict[str, dict[str, Any]]


def main(arguments: list[str]) -> int:
    """Returns the exit code; one line says what is missing or refused."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        settings = load_settings()
        access = _read(Path(arguments[0]))
        make_buckets(settings)
        make_users(settings, access)
    except HeadraceError as error:
        log.error("%s", error)
        return 1
    pull_models(settings)
    return 0


def make_buckets(settings: Settings) -> None:
    """Make our own buckets where they are missing. Raises the store's errors."""
    store = connect_store(settings.s3)
    for bucket in settings.own_buckets:
        if ensure_bucket(store, bucket):
            log.info("made the bucket %s", bucket)


def make_users(settings: Settings, access: StoreAccess) -> None:
    """Set every role's policy, user and password. Raises PermanentError where that is refused."""
    s3 = settings.s3
    admin = MinioAdmin(
        endpoint=s3.endpoint,
        credentials=StaticProvider(s3.access_key, s3.secret_key),
        region=s3.region,
        secure=s3.secure,
    )
    try:
        for role, (access_key, secret_key) in access.keys.items():
            admin.policy_add(role, policy=access.policies[role])
            admin.user_add(access_key, secret_key)
            admin.policy_set(role, user=access_key)
    except MinioAdminException as error:
        raise PermanentError(
            "store_refused",
            f"{s3.endpoint} refuses to set up its users: {' '.join(str(error).split())}.",
            "Is it MinIO, and is this its administrator?",
        ) from error
    except HTTPError as error:
        raise TransientError(
            "store_unavailable", f"{s3.endpoint} does not answer ({type(error).__name__})."
        ) from error
    log.info("set up the users %s", ", ".join(access.keys))


def pull_models(settings: Settings) -> None:
    """Pull what the pipelines name. What cannot be had now is only told: it may be pulled later."""
    catalog, store = Catalog(), resolve_store(settings, settings.models_bucket)
    for name in catalog.model_names():
        try:
            pulled = pull_model(name, settings, store, echo=log.info)
            log.info("the model %s is ready", pulled.name)
        except HeadraceError as error:
            log.warning("the model %s is not ready: %s", name, error)


def _read(path: Path) -> StoreAccess:
    try:
        return StoreAccess.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise PermanentError(
            "no_store_access", f"Cannot read {path}: {type(error).__name__}.", "Mount the secret."
        ) from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
