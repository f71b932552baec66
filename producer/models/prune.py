"""``prune``: what nothing uses any more in the models bucket."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel

from producer.connections import Connections
from producer.models.removal import Removal, needed_by_jobs
from producer.pins import CODE, FILES, Pin, marked, marks_by_key
from shared.catalog import (
    Catalog,
    NotOurs,
    WeightsModelFile,
    current_release,
    folders,
    listed,
    published_versions,
)
from shared.durations import duration
from shared.errors import PermanentError, UsageError
from shared.storage import ObjectMissing, Store

_LONGEST = timedelta(days=9999)
# From its first mark to its first deletion a removal reads the open jobs: seconds.
_INTERRUPTED_AFTER = timedelta(hours=1)


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
    age = duration(text)
    if age is None or age > _LONGEST:
        raise UsageError(
            "bad_age",
            f"--older-than cannot be {text!a}.",
            "Give a number of minutes, hours or days, as in 30m, 12h or 7d.",
        )
    return age


def unused(
    connections: Connections, older_than: timedelta, catalog: Catalog | None = None
) -> list[Unused]:
    """What ``prune`` removes: nothing has used it for so long, and no name means it.

    No open job pins it, and none that ended within that time. A version is no current release,
    none that ``config/models`` names, and was published before that; or its removal was killed
    halfway. Code and files were stored before that. Raises the store's errors.
    """
    since = datetime.now(UTC) - older_than
    bucket = connections.settings.models_bucket
    store = connections.store_of(bucket)
    found = dict(_classes(store, bucket, since))
    for name in folders(store, bucket):
        if not name.startswith("_"):
            found |= _versions(store, bucket, name, since)
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
            if (released := current_release(store, bucket, name)) is None:
                continue
            pin = Pin(name, released.sha256)
            if store.exists(bucket, pin.key):
                kept[pin] = PermanentError("model_needed", f"{pin} is current.")
        return kept

    kept = Removal(connections).remove(pins, keeping)
    return [each for each in found if each.pin not in kept]


def call_off_interrupted(connections: Connections, removed: list[Unused]) -> set[Pin]:
    """Take the marks of old removals from what stands and stays. Returns what may be used again.

    A removal that was killed before it deleted anything leaves such marks. ``removed``: what
    ``prune`` removes, which the marks are needed for.
    """
    bucket = connections.settings.models_bucket
    store = connections.store_of(bucket)
    before = datetime.now(UTC) - _INTERRUPTED_AFTER
    going, called_off = {each.pin for each in removed}, set[Pin]()
    for key, pin in marks_by_key(store, bucket).items():
        stands = pin not in going and store.exists(bucket, pin.key)
        if stands and _is_older(store, bucket, key, before):
            store.delete(bucket, key)
            called_off.add(pin)
    return called_off - marked(store, bucket)


def _is_older(store: Store, bucket: str, key: str, than: datetime) -> bool:
    """Was it written before that? Not where it is gone."""
    try:
        modified_at = store.head(bucket, key).modified_at
    except ObjectMissing:
        return False
    return modified_at is not None and modified_at <= than


def _defaults(catalog: Catalog) -> set[Pin]:
    """The versions that ``config/models`` names."""
    entries = map(catalog.model, catalog.model_names())
    return {
        Pin(entry.name, entry.content.sha256)
        for entry in entries
        if isinstance(entry.content, WeightsModelFile)
    }


def _versions(store: Store, bucket: str, name: str, since: datetime) -> dict[Pin, int]:
    """Those that were published before ``since`` and are not current, with their bytes.

    None where what is current cannot be read.
    """
    found = dict[Pin, int]()
    try:
        released = current_release(store, bucket, name)
    except NotOurs:
        return found
    for version in published_versions(store, bucket, name, skipped=lambda _: None):
        is_current = released is not None and released.sha256 == version.sha256
        if version.created_at < since and not is_current:
            pin = Pin(name, version.sha256)
            found[pin] = _bytes(store, bucket, pin)
    return found


def _bytes(store: Store, bucket: str, pin: Pin) -> int:
    """What is there of a version."""
    return sum(info.size for info in listed(store, bucket, pin.prefix))


def _classes(store: Store, bucket: str, since: datetime) -> Iterator[tuple[Pin, int]]:
    """Code and files of before ``since``: a job may come for what is newer."""
    for folder in (CODE, FILES):
        for info in listed(store, bucket, f"{folder}/"):
            pin = Pin(folder, info.key.split("/")[1].removesuffix(".zip"))
            if pin.key == info.key and _is_older(store, bucket, pin.key, since):
                yield pin, info.size
