"""The settings file, written for our processes from what the stack remembers."""

from __future__ import annotations

import json
from typing import Any

from producer.stack.home import Home, write_private
from producer.stack.ports import HOST
from producer.stack.record import StackRecord
from producer.stack.services import broker_url
from shared.settings import SETTINGS_FILE, S3Settings, Settings, load_settings


def write_settings(home: Home, record: StackRecord) -> Settings:
    """Write ``settings.json`` and read it back. What a user has added to it stays.

    It is not written from a ``Settings``, which would keep this shell's HEADRACE_* variables.
    """
    path = home.root / SETTINGS_FILE
    values = {"signing_keys": [record.secret("signing")], **_added(home), **_derived(record)}
    write_private(path, json.dumps(values, indent=2))
    return load_settings(home.root)


def _added(home: Home) -> dict[str, Any]:
    try:
        values = json.loads((home.root / SETTINGS_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _derived(record: StackRecord) -> dict[str, Any]:
    assert record.ring is not None
    s3 = S3Settings(
        endpoint=f"{HOST}:{record.ports['s3']}",
        access_key=record.secret("s3_access"),
        secret_key=record.secret("s3_secret"),
    )
    return {
        "mode": "local",
        "host_id": record.host_id,
        "broker_url": broker_url(record, 0),
        "ledger_url": broker_url(record, 1),
        "staging_url": broker_url(record, 2),
        "s3": s3.model_dump(),
        "ring": record.ring.model_dump(mode="json"),
        "flower_url": f"http://{HOST}:{record.ports['flower']}",
    }
