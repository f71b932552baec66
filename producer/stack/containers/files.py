"""What the containers of one home are given: secrets, settings, folders, and Compose's variables.

Files of secrets are mounted as they are, with their owner and mode. So the containers run as the
user who starts them, or, where that is root, as a user who owns nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from producer.stack.containers.compose import VARIABLES, device
from producer.stack.home import Home, write_private
from producer.stack.record import StackRecord
from producer.stack.rights.broker_users import ADMIN, acl_file
from producer.stack.rights.credentials import (
    broker_passwords,
    flower_config,
    flower_url,
    store_key,
)
from producer.stack.rights.store_identities import store_policies
from producer.stack.ring import MIB, whole_ring
from producer.stack.roles import FLOWER, working_roles
from producer.stack.settings_file import (
    Places,
    derived_settings,
    role_settings_file,
    write_json,
    write_role_settings,
)
from shared.errors import UsageError
from shared.settings import Settings
from shared.staging import Layout

PORT_NAMES = ("store", FLOWER.name)
DATA_FOLDERS = ("redis", "minio", "models")
BROKER_PORT = 6379
# Where the services are for the roles.
INSIDE = Places(broker=f"redis:{BROKER_PORT}", store="minio:9000", flower_url="", mode="docker")
UNPRIVILEGED = 10001
RING = Path("/staging/ring")
HEADERS_MIB = 4


def owner() -> tuple[int, int]:
    """User and group that containers run as."""
    return (os.getuid(), os.getgid()) if os.getuid() else (UNPRIVILEGED, UNPRIVILEGED)


def write_files(home: Home, record: StackRecord) -> None:
    """Write everything that ``docker-compose.yml`` mounts or reads, from the record's secrets."""
    record.ring = whole_ring(RING)
    secrets = home.root / "secrets"
    secrets.mkdir(mode=0o700, exist_ok=True)
    write_role_settings(home, record, INSIDE)
    write_json(home.root / role_settings_file("setup"), _setup_settings(record))
    keys = {role.name: store_key(record, role.name) for role in working_roles()}
    write_json(secrets / "store_access", {"keys": keys, "policies": store_policies()})
    user, password = store_key(record, ADMIN)
    for name, text in (
        ("broker_users", acl_file(broker_passwords(record))),
        ("store_user", user),
        ("store_password", password),
        ("flower_auth", flower_config(record)),
    ):
        write_private(secrets / name, text)
    write_private(home.root / VARIABLES, _variables(home, record))
    _hand_over(home)


def outside(record: StackRecord, broker_address: str) -> Places:
    """Where the services are for the command line, on the machine that runs the engine."""
    return Places(
        broker=f"{broker_address}:{BROKER_PORT}",
        store=f"127.0.0.1:{record.ports['store']}",
        flower_url=flower_url(record, f"127.0.0.1:{record.ports[FLOWER.name]}"),
        mode="docker",
    )


def _setup_settings(record: StackRecord) -> dict[str, Any]:
    """The administrator's for the store, and nobody's for the broker, which setup does not need."""
    names = ("broker_url", "ledger_url", "staging_url")
    nobody = derived_settings(record, "setup", INSIDE)
    admin = derived_settings(record, ADMIN, INSIDE)
    keys = {"signing_keys": [record.secret("signing_setup")]}
    return {**admin, **{name: nobody[name] for name in names}, **keys}


def _variables(home: Home, record: StackRecord) -> str:
    """Compose's file of variables. What the shell says wins over it, but for ``WRITTEN``."""
    assert record.ring is not None
    uid, gid = owner()
    ring_mib = Layout.of(record.ring).total_bytes // MIB + HEADERS_MIB
    values = {
        "COMPOSE_PROJECT_NAME": home.short_name,
        "COMPOSE_PROFILES": device(),
        "HEADRACE_FILES": home.root,
        "HEADRACE_USER": f"{uid}:{gid}",
        "HEADRACE_STORE_PORT": record.ports["store"],
        "HEADRACE_FLOWER_PORT": record.ports[FLOWER.name],
        "HEADRACE_STAGING_MIB": ring_mib,
        "HEADRACE_STORES": _stores_file(),
    }
    if device() == "gpu":
        values["HEADRACE_TORCH_INDEX"] = ""  # PyPI's torch is the one with CUDA
    return "".join(f"{name}='{value}'\n" for name, value in values.items())


def _stores_file() -> Path:
    """Where other stores are named. Raises UsageError where the environment names no file."""
    named = os.environ.get("HEADRACE_STORES_FILE")
    file = Path(named).expanduser().resolve() if named else Path(_default("stores_file"))
    if not file.is_file():
        raise UsageError("no_stores_file", f"There is no {file}.", "Correct HEADRACE_STORES_FILE.")
    return file


def _default(name: str) -> Any:
    return Settings.model_fields[name].default


def _hand_over(home: Home) -> None:
    """Give what containers read and write to the user that they run as."""
    if os.getuid():
        return
    secrets, roles = (home.root / "secrets").iterdir(), (home.run / "roles").iterdir()
    data = map(home.data.joinpath, DATA_FOLDERS)
    for path in (*secrets, *roles, *data):
        os.chown(path, *owner())
