"""The settings files, written for our processes from what the stack remembers.

The command line reads ``settings.json``; each role has a file with its own secrets only, which the
supervisor names to it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from producer.stack.broker_users import ADMIN
from producer.stack.credentials import BROKER_ROLES, broker_url, signing_key, store_key
from producer.stack.home import Home, write_private
from producer.stack.ports import HOST
from producer.stack.record import StackRecord
from shared.settings import SETTINGS_FILE, S3Settings, Settings, load_settings


def role_settings_file(role: str) -> Path:
    """Where a role's own settings are, relative to the home."""
    return Path("run", "roles", f"{role}.json")


def write_settings(home: Home, record: StackRecord) -> Settings:
    """Write the settings of the command line and of every role, and read back the former.

    What a user has added to ``settings.json`` stays, and goes to the roles too.
    They are not written from a ``Settings``, which would keep this shell's HEADRACE_* variables.
    """
    added = _added(home)
    admin = {"signing_keys": [signing_key(record, ADMIN)], **added, **_derived(record, ADMIN)}
    _write(home.root / SETTINGS_FILE, admin)
    for role in BROKER_ROLES:
        own = {**admin, **_derived(record, role)}
        if role == "flower":
            own["signing_keys"] = [signing_key(record, role)]
        _write(home.root / role_settings_file(role), own)
    return load_settings(home.root, SETTINGS_FILE)


def _write(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(path, json.dumps(values, indent=2))


def _added(home: Home) -> dict[str, Any]:
    try:
        values = json.loads((home.root / SETTINGS_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _derived(record: StackRecord, name: str) -> dict[str, Any]:
    assert record.ring is not None
    access_key, secret_key = store_key(record, name)
    s3 = S3Settings(
        endpoint=f"{HOST}:{record.ports['s3']}", access_key=access_key, secret_key=secret_key
    )
    return {
        "mode": "local",
        "host_id": record.host_id,
        "broker_url": broker_url(record, name, 0),
        "ledger_url": broker_url(record, name, 1),
        "staging_url": broker_url(record, name, 2),
        "s3": s3.model_dump(),
        "ring": record.ring.model_dump(mode="json"),
        "flower_url": f"http://{HOST}:{record.ports['flower']}",
    }
