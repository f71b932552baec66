"""The staging slots of a stack, as they lie on disk: which of them may nobody take?"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from shared.ledger import ChunkRef, connect_ledger
from shared.settings import load_settings
from shared.staging import Layout
from tests.support.stack import Stack


def job_uid(stack: Stack, job: str) -> str:
    """The random id that a job's messages and slots carry."""
    body = stack.s3.get_object(Bucket="state", Key=f"jobs/{job}/spec.json")["Body"].read()
    return str(json.loads(body)["job_uid"])


def taken_slots(stack: Stack, uid: str | None = None) -> list[int]:
    """The slots that are locked, or hold what the ledger knows as staged; of one job, or all."""
    settings = load_settings(stack.home)
    layout, ledger = Layout.of(settings.ring), connect_ledger(settings)
    taken = []
    for place in layout.places:
        locked, header = _look(layout.header_path(place.index))
        ref = ChunkRef(*header) if header else None
        if uid is not None and (ref is None or ref.job_uid != uid):
            continue
        if locked or (ref is not None and ledger.still_staged([ref])[0]):
            taken.append(place.index)
    return taken


def _look(path: Path) -> tuple[bool, list[Any] | None]:
    """Whether somebody has the slot's lock, and what its header says."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = False
        except BlockingIOError:
            locked = True
        text = os.pread(descriptor, 256, 0).rstrip(b"\0")
        return locked, json.loads(text) if text else None
    finally:
        os.close(descriptor)
