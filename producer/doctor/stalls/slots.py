"""A staging ring without a free slot."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from producer.doctor.stalls.finding import Finding
from shared.ledger import Ledger, LiveWorker
from shared.locks import is_locked
from shared.settings import Settings
from shared.stages import PREPROCESS
from shared.staging import Layout, chunk_in
from shared.staging.holders import described, holders

# Who holds a slot for a moment, as another command that looks, has let go of it by then.
LOOK_AGAIN_SECONDS = 0.5
# A slow model keeps all slots taken. One that is given no other chunk for so long may stand.
STANDING_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Full:
    """A ring of which no slot is free. ``strangers``: processes with locks that are no workers."""

    contents: dict[int, bytes]
    seconds: float
    locked: dict[int, list[int]]
    strangers: set[int]


def full_ring(
    settings: Settings, ledger: Ledger, workers: Collection[LiveWorker]
) -> Finding | None:
    """A finding where most slots are taken, by strangers or without a change for long.

    Most: all of the size that there are most of, and all larger ones, which stand in for it.
    None too where this host has no ring. Raises TransientError.
    """
    layout = Layout.of(settings.ring)

    def look(living: Collection[LiveWorker]) -> _Full | None:
        return _look(layout, ledger, {w.pid for w in living if w.host_id == settings.host_id})

    try:
        full = look(workers)
        if full is not None and full.strangers:
            time.sleep(LOOK_AGAIN_SECONDS)
            again = look(ledger.workers())  # after an outage leases come back one by one
            if again is None or again.contents != full.contents:
                return None
            if strangers := full.strangers & again.strangers:
                return _taken_by(strangers, again, len(layout.places))
        if full is None or full.seconds < STANDING_SECONDS:
            return None
        return _unchanged(full, len(layout.places))
    except OSError:  # no ring is here, or none that is ours
        return None


def _look(layout: Layout, ledger: Ledger, ours: set[int]) -> _Full | None:
    """The slots that a chunk of the usual size would take; None where one of them is free."""
    sizes = Counter(place.slot_bytes for place in layout.places)
    usual = max(sizes, key=lambda size: (sizes[size], size))
    indexes = [place.index for place in layout.places if place.slot_bytes >= usual]
    paths = {index: layout.header_path(index) for index in indexes}
    contents = {index: path.read_bytes() for index, path in paths.items()}
    refs = [chunk_in(contents[index]) for index, path in paths.items() if not is_locked(path)]
    staged = [ref for ref in refs if ref is not None]
    if len(staged) < len(refs) or not all(ledger.still_staged(staged)):
        return None
    locked = {index: pids for index, pids in holders(layout).items() if index in paths}
    strangers = {pid for pids in locked.values() for pid in pids} - ours
    changed_at = max(path.stat().st_mtime for path in paths.values())  # when it was taken or freed
    return _Full(contents, time.time() - changed_at, locked, strangers)


def _taken_by(strangers: set[int], full: _Full, slots: int) -> Finding:
    theirs = sum(bool(strangers.intersection(pids)) for pids in full.locked.values())
    return Finding(
        f"The staging ring is full: {len(full.contents)} of {slots} slots are taken, {theirs} of "
        f"them locked by processes that are no workers: {described(strangers)}.",
        f"End them (kill {' '.join(map(str, sorted(strangers)))}): they keep their locks until "
        "they end.",
        PREPROCESS.role,
    )


def _unchanged(full: _Full, slots: int) -> Finding:
    pids = {pid for found in full.locked.values() for pid in found}
    by = f", {len(full.locked)} of them locked by {described(pids)}" if full.locked else ""
    return Finding(
        f"The staging ring is full: {len(full.contents)} of {slots} slots are taken{by}, and none "
        f"has changed for {full.seconds:.0f} s.",
        "A slow model empties it in its own time; else see 'headrace logs inference', then run "
        "'headrace restart inference'.",
        PREPROCESS.role,
    )
