"""A staging ring in which no slot is free and nothing moves."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from producer.standing.finding import Finding
from shared.ledger import ChunkRef, Ledger
from shared.locks import Lock
from shared.settings import Settings
from shared.staging import Layout
from shared.staging.holders import described, holders

# A ring that is merely busy changes between two looks, unless the model is slow.
LOOK_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Taken:
    """What the slots hold, and which of them are locked."""

    contents: dict[int, bytes]
    locked: frozenset[int]


def full_ring(settings: Settings, ledger: Ledger) -> Finding | None:
    """A finding where most slots are taken and none of these changes. Raises TransientError.

    Most: all of the size that there are most of, and all larger ones, which stand in for it.
    None too where this host has no ring. Only a ring that looks full is looked at twice.
    """
    layout = Layout.of(settings.ring)
    try:
        before = _taken(layout, ledger)
        if before is None:
            return None
        time.sleep(LOOK_AGAIN_SECONDS)
        after = _taken(layout, ledger)
        # Locks come and go: who waits for a slot tries those that are staged again and again.
        if after is None or after.contents != before.contents:
            return None
        return _finding(after, len(layout.places), holders(layout))
    except OSError:  # no ring is here, or none that is ours
        return None


def _taken(layout: Layout, ledger: Ledger) -> _Taken | None:
    """The slots that a chunk of the usual size would take; None where one of them is free."""
    sizes = Counter(place.slot_bytes for place in layout.places)
    usual = max(sizes, key=lambda size: (sizes[size], size))
    indexes = [place.index for place in layout.places if place.slot_bytes >= usual]
    paths = {index: layout.header_path(index) for index in indexes}
    contents = {index: path.read_bytes() for index, path in paths.items()}
    locked = frozenset(index for index, path in paths.items() if _is_locked(path))
    refs = [_ref(text) for index, text in contents.items() if index not in locked]
    filled = [ref for ref in refs if ref is not None]
    if len(filled) < len(refs) or not all(ledger.staged(filled)):
        return None
    return _Taken(contents, locked)


def _is_locked(path: Path) -> bool:
    if (lock := Lock.take(path)) is None:
        return True
    lock.release()
    return False


def _ref(header: bytes) -> ChunkRef | None:
    """The chunk that a slot holds; None for a free slot, or a torn header, which is as good."""
    try:
        return ChunkRef(*json.loads(header.rstrip(b"\0")))
    except (ValueError, TypeError):
        return None


def _finding(taken: _Taken, slots: int, pids: dict[int, list[int]]) -> Finding:
    processes = {pid for index in taken.locked for pid in pids.get(index, ())}
    by = f": {len(taken.locked)} are locked, by {described(processes)}" if taken.locked else ""
    return Finding(
        f"The staging ring is full: {len(taken.contents)} of {slots} slots are taken, and none "
        f"changed in {LOOK_AGAIN_SECONDS} s{by}.",
        "A slow model empties it in its own time; else run 'headrace restart preprocess' and "
        "'headrace restart inference', and end those of these processes that remain.",
        "preprocess",
    )
