"""The settings files, written for our processes from what the stack remembers.

The command line reads ``settings.json``; each role has a file with its own secrets only, which the
supervisor names to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from producer.stack.home import Home, write_private
from producer.stack.ports import HOST
from producer.stack.record import StackRecord
from producer.stack.rights.broker_users import ADMIN
from producer.stack.rights.credentials import (
    broker_url,
    flower_config,
    flower_url,
    signing_key,
    store_key,
)
from producer.stack.roles import FLOWER, FLOWER_CONFIG, ROLES, is_observer
from shared.errors import UsageError
from shared.settings import SETTINGS_FILE, S3Settings, Settings, load_settings

# What a user may add to ``settings.json``: another broker's address for each role, and ``admin``.
BROKER_URLS = "broker_urls"


def role_settings_file(role: str) -> Path:
    """Where a role's own settings are, relative to the home."""
    return Path("run", "roles", f"{role}.json")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the services are, as seen by whom the settings are for: ``host:port``, and a URL."""

    broker: str
    store: str
    flower_url: str
    mode: str = "local"

    @classmethod
    def on_loopback(cls, record: StackRecord) -> Places:
        """As processes of this machine see them."""
        at = {name: f"{HOST}:{port}" for name, port in record.ports.items()}
        return cls(at["valkey"], at["s3"], flower_url(record, at[FLOWER.name]))


def write_settings(home: Home, record: StackRecord) -> Settings:
    """Write all settings of the local stack, and read back those of the command line."""
    places = Places.on_loopback(record)
    write_role_settings(home, record, places)
    write_private(home.root / FLOWER_CONFIG, flower_config(record))
    return write_own_settings(home, record, places)


def write_role_settings(home: Home, record: StackRecord, places: Places) -> None:
    """Write a settings file for every role. What a user has added to ``settings.json`` is in it.

    They are not written from a ``Settings``, which would keep this shell's HEADRACE_* variables.
    Flower's address has its password in it, which no role needs.
    """
    places = replace(places, flower_url="")
    added = {"signing_keys": [signing_key(record, ADMIN)], **_added(home)}
    urls = _broker_urls(added)
    added.pop(BROKER_URLS, None)  # a role is told its own only
    for role in ROLES:
        own = {**added, **derived_settings(record, role, places), **urls.get(role, {})}
        if is_observer(role):
            own["signing_keys"] = [signing_key(record, role)]
        write_json(home.root / role_settings_file(role), own)


def write_own_settings(home: Home, record: StackRecord, places: Places) -> Settings:
    """Write the settings of the command line, keeping what a user has added, and read them back."""
    added = {"signing_keys": [signing_key(record, ADMIN)], **_added(home)}
    own_url = _broker_urls(added).get(ADMIN, {})
    values = {**added, **derived_settings(record, ADMIN, places), **own_url}
    write_json(home.root / SETTINGS_FILE, values)
    return load_settings(home.root, SETTINGS_FILE)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a file with secrets, for its owner only."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(path, json.dumps(values, indent=2))


def _added(home: Home) -> dict[str, Any]:
    """What ``settings.json`` says. Raises UsageError where it cannot be read: it is the user's."""
    path = home.root / SETTINGS_FILE
    try:
        values = json.loads(path.read_text())
        if not isinstance(values, dict):
            raise ValueError("it is no JSON object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(
            "bad_settings",
            f"Cannot read {path}: {error}.",
            "Correct it, or remove it: it is made again.",
        ) from error
    return values


def _broker_urls(added: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """By role, what to put in place of the stack's own broker; empty where that stays.

    Raises UsageError unless all have one: who looks elsewhere waits for ever.
    """
    urls, names = added.get(BROKER_URLS), {ADMIN, *ROLES}
    if urls is None:
        return {}
    if not isinstance(urls, dict) or set(urls) != names:
        raise UsageError(
            "bad_broker_urls",
            f"{BROKER_URLS} in {SETTINGS_FILE} does not name an address for each role.",
            f"Give one to each of {', '.join(sorted(names))}.",
        )
    return {name: {"broker_url": str(url)} for name, url in urls.items()}


def derived_settings(record: StackRecord, name: str, places: Places) -> dict[str, Any]:
    """What follows from the record and the places, with the secrets of one role or ``admin``."""
    assert record.ring is not None
    access_key, secret_key = store_key(record, name)
    s3 = S3Settings(endpoint=places.store, access_key=access_key, secret_key=secret_key)
    return {
        "mode": places.mode,
        "host_id": record.host_id,
        "broker_url": broker_url(record, name, places.broker, 0),
        "ledger_url": broker_url(record, name, places.broker, 1),
        "staging_url": broker_url(record, name, places.broker, 2),
        "s3": s3.model_dump(),
        "ring": record.ring.model_dump(mode="json"),
        "flower_url": places.flower_url,
    }
