"""``prune``: what nothing uses any more in the models bucket."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel

from producer.connections import Connections
from producer.models.removal import (
    Removal,
    current_release,
    folder_of,
    listed,
    needed_by_jobs,
)
from producer.pins import CODE, FILES, Pin, marked
from shared.catalog import Catalog, WeightsModelFile, current
from shared.errors import PermanentError, UsageError
from shared.storage import BucketMissing, Store

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Unused(BaseModel):
    """A version of a model, or code or a file of a class.

    ``name``: the model's; null for what is of a class. ``bytes``: what it takes in the bucket.
    """

    kind: Literal["version", "code", "file"]
    name: str | None
    sha256: str
    bytes: int

    @classmethod
    def of(cls, pin: Pin, size: int) -> Unused:
        """A pin of that size."""
        kinds: dict[str, Literal["code", "file"]] = {CODE: "code", FILES: "file"}
        name = pin.folder if pin.is_version else None
        return cls(kind=kinds.get(pin.folder, "version"), name=name, sha256=pin.sha256, bytes=size)

    @property
    def pin(self) -> Pin:
        """Where it lies."""
        return Pin(self.name or {"code": CODE, "file": FILES}[self.kind], self.sha256)


class Pruned(BaseModel):
    """The answer to ``prune``. ``dry_run``: it is all still there."""

    dry_run: bool
    removed: list[Unused]


def parse_age(text: str) -> timedelta:
    """What ``--older-than`` means. Raises UsageError ``bad_age``."""
    match = re.fullmatch(r"([0-9]{1,4})([mhd])", text)
    if match is None:
        raise UsageError(
            "bad_age",
            f"--older-than cannot be {text!a}.",
            "Give a number of minutes, hours or days, as in 30m, 12h or 7d.",
        )
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def unused(
    connections: Connections, older_than: timedelta, catalog: Catalog | None = None
) -> list[Unused]:
    """What ``prune`` removes: nothing has used it for so long, and no name means it.

    No open job pins it, and none that ended within that time. A version is no current release,
    none that ``config/models`` names, and was published before that; or its removal was killed
    halfway. Raises the store's errors.
    """
    since = datetime.now(UTC) - older_than
    bucket = connections.settings.models_bucket
    store = connections.store_of(bucket)
    found = dict(_classes(store, bucket))
    for name in _names(store, bucket):
        found |= _versions(store, bucket, name, since)
        if (released := current_release(store, bucket, name)) is not None:
            found.pop(released, None)
    for pin in _defaults(catalog or Catalog()):
        found.pop(pin, None)
    for pin in marked(store, bucket):
        if not store.exists(bucket, pin.key):
            found[pin] = _bytes(store, bucket, pin)
    needed = needed_by_jobs(connections, since)
    return [Unused.of(pin, size) for pin, size in sorted(found.items()) if pin not in needed]


def prune(connections: Connections, found: list[Unused], older_than: timedelta) -> list[Unused]:
    """Remove these, but for what was used or released meanwhile. Returns what was removed."""
    pins = [each.pin for each in found]
    bucket = connections.settings.models_bucket
    store = connections.store_of(bucket)

    def keeping() -> dict[Pin, PermanentError]:
        kept = needed_by_jobs(connections, datetime.now(UTC) - older_than)
        for name in {pin.folder for pin in pins if pin.is_version}:
            released = current_release(store, bucket, name)
            if released is not None and store.exists(bucket, released.key):
                kept[released] = PermanentError("model_needed", f"{released} is current.")
        return kept

    kept = Removal(connections).remove(pins, keeping)
    return [each for each in found if each.pin not in kept]


def _defaults(catalog: Catalog) -> set[Pin]:
    """The versions that ``config/models`` names."""
    entries = map(catalog.model, catalog.model_names())
    return {
        Pin(entry.name, entry.content.sha256)
        for entry in entries
        if isinstance(entry.content, WeightsModelFile)
    }


def _names(store: Store, bucket: str) -> list[str]:
    try:
        return [name for name in store.list_folders(bucket, "") if not name.startswith("_")]
    except BucketMissing:
        return []


def _versions(store: Store, bucket: str, name: str, since: datetime) -> Iterator[tuple[Pin, int]]:
    """Complete versions that were published before ``since``, with the bytes that they take."""
    for sha256 in filter(_SHA256.fullmatch, store.list_folders(bucket, f"{name}/")):
        try:
            found = current(store, bucket, name, sha256)
        except PermanentError:  # a marker that is not ours
            continue
        if found is not None and found.created_at < since:
            pin = Pin(name, sha256)
            yield pin, _bytes(store, bucket, pin)


def _bytes(store: Store, bucket: str, pin: Pin) -> int:
    """What is there of a version."""
    return sum(info.size for info in listed(store, bucket, folder_of(pin)))


def _classes(store: Store, bucket: str) -> Iterator[tuple[Pin, int]]:
    for folder in (CODE, FILES):
        for info in listed(store, bucket, f"{folder}/"):
            pin = Pin(folder, info.key.split("/")[1].removesuffix(".zip"))
            if pin.key == info.key:
                yield pin, info.size
