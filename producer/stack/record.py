"""What a stack remembers from one ``up`` to the next: ports, scale, secrets. ``stack.json``."""

from __future__ import annotations

import re
import secrets
import socket
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from producer.stack.home import Home, write_private
from producer.stack.roles import default_scale
from shared.settings import RingSettings

RECORD_FILE = "stack.json"


class StackRecord(BaseModel):
    """The memory of one stack. ``sockets`` and ``ring`` are None until it was up once."""

    model_config = ConfigDict(extra="ignore")

    host_id: str
    sockets: Path | None = None
    ring: RingSettings | None = None
    ports: dict[str, int] = Field(default_factory=dict)
    scale: dict[str, int]
    secrets: dict[str, str] = Field(default_factory=dict, repr=False)

    def secret(self, name: str) -> str:
        """The secret of that name, 32 hexadecimal digits, made up at first use."""
        return self.secrets.setdefault(name, secrets.token_hex(16))


def load_record(home: Home) -> StackRecord:
    """Read the record, or begin a new one where there is none that can be read."""
    try:
        return StackRecord.model_validate_json((home.root / RECORD_FILE).read_bytes())
    except (OSError, ValidationError):
        return StackRecord(host_id=_host_id(home), scale=default_scale())


def save_record(home: Home, record: StackRecord) -> None:
    """Keep the record, readable by its owner only."""
    write_private(home.root / RECORD_FILE, record.model_dump_json(indent=2))


def _host_id(home: Home) -> str:
    """Queue names carry it, so it stays as it is when the machine gets another name."""
    host = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().lower()).strip("-")[:24].rstrip("-")
    return f"{host or 'host'}-{home.short_name.rsplit('-', 1)[1]}"
