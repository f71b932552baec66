"""Removing from the models bucket what no job needs, while others enqueue.

The order is: mark what is to go; list the open jobs again; delete what none of them pins; take the
marks away. ``enqueue`` writes its spec, then looks for marks, and then for what it pins. So either
the spec was written before the jobs were listed, and its pins stay; or it was written after the
mark, and ``enqueue`` finds the mark, or nothing where its pin was, and cancels the job. It looks in
that order since a mark is the last to go: who finds none any more finds the object gone.

Of a version ``model.json`` goes first: without it nobody takes the rest for a version. A removal
that is killed leaves its mark, by which the next one finishes it. Each removal has marks of its
own, since one that keeps a version must not take away the mark of one that deletes it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from producer.connections import Connections
from producer.pins import Pin, jobs_needing
from shared.catalog import listed, release_key, released
from shared.errors import HeadraceError, PermanentError
from shared.keys import removal_prefix
from shared.storage import Store

# What has to stay, each with the error that says why.
Keeping = Callable[[], dict[Pin, PermanentError]]


class Removal:
    """One removal: its marks bear its token."""

    def __init__(self, connections: Connections) -> None:
        self._bucket = connections.settings.models_bucket
        self._store = connections.store_of(self._bucket)
        self._token = secrets.token_hex(8)

    def remove(self, pins: Sequence[Pin], keeping: Keeping) -> dict[Pin, PermanentError]:
        """Delete the pins in their order, but for those that ``keeping`` names when all are marked.

        Returns what ``keeping`` said of those; where it raises, all stay. Raises the store's
        errors, with marks left by which another removal finishes it.
        """
        for pin in pins:
            self._store.put(self._bucket, self._mark(pin), b"")
        try:
            kept = keeping()
        except HeadraceError:
            self._unmark(pins)
            raise
        self._unmark(kept.keys() & set(pins))
        for pin in pins:
            if pin not in kept:
                self._delete(pin)
        return {pin: kept[pin] for pin in pins if pin in kept}

    def _delete(self, pin: Pin) -> None:
        self._require_own_mark(pin)
        self._store.delete(self._bucket, pin.key)
        if pin.is_version:
            rest = [info.key for info in self._store.list(self._bucket, pin.prefix)]
            dangling = released(self._store, self._bucket, pin.folder).items()
            rest += [release_key(pin.folder, n) for n, sha256 in dangling if sha256 == pin.sha256]
            self._store.delete_many(self._bucket, rest)
            self._store.delete(self._bucket, pin.key)  # a pull may have made one of its own
        # Also those of removals that were killed.
        marks = [info.key for info in self._store.list(self._bucket, pin.marks)]
        self._store.delete_many(self._bucket, marks)

    def _unmark(self, pins: Iterable[Pin]) -> None:
        for pin in pins:
            self._store.delete(self._bucket, self._mark(pin))

    def _mark(self, pin: Pin) -> str:
        return f"{removal_prefix(pin.folder, pin.sha256)}{self._token}"

    def _require_own_mark(self, pin: Pin) -> None:
        """Another removal may have finished this one, and somebody brought the pin back since."""
        if not self._store.exists(self._bucket, self._mark(pin)):
            raise HeadraceError(
                "removed_meanwhile",
                f"Another command has removed {pin} meanwhile.",
                "Run this again.",
            )


def needed_by_jobs(
    connections: Connections, ended_after: datetime | None = None
) -> dict[Pin, PermanentError]:
    """What open jobs keep from being removed, and those that ended later than ``ended_after``."""
    return {
        pin: PermanentError(
            "model_needed",
            f"The job '{job_id}' needs {pin}.",
            f"Wait for its end, or run 'headrace cancel {job_id}' first.",
        )
        for pin, job_id in jobs_needing(connections, ended_after).items()
    }


def require_standing(store: Store, bucket: str, pin: Pin) -> None:
    """Raise PermanentError ``model_removed`` for what is being removed, or is gone.

    Marks are looked at first: who finds none any more finds the object gone.
    """
    require_unmarked(store, bucket, pin)
    if not store.exists(bucket, pin.key):
        raise PermanentError(
            "model_removed", f"Another command has removed {pin} meanwhile.", "Run this again."
        )


def require_unmarked(store: Store, bucket: str, pin: Pin) -> None:
    """Raise PermanentError ``model_removed`` for what is being removed."""
    if any(listed(store, bucket, pin.marks)):
        raise PermanentError(
            "model_removed",
            f"A removal of {pin} has not ended.",
            f"Wait for it. If it was interrupted, 'headrace models rm {pin.folder}' removes all of "
            "the model, and 'headrace prune' calls it off after an hour.",
        )
