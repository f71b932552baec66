"""A staging ring in which no slot is free and nothing moves."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from producer.standing.finding import Finding
from shared.ledger import ChunkRef, Ledger
from shared.settings import Settings
from shared.staging import Layout
from shared.staging.holders import described, holders

# A ring that is merely busy changes between two looks, unless the model is slow.
LOOK_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Look:
    """The slots of the largest size that matters: what each holds, and who has locked it."""

    slot_bytes: int
    contents: dict[int, bytes]
    pids: dict[int, list[int]]


def full_ring(settings: Settings, ledger: Ledger) -> Finding | None:
    """A finding where all slots of a size are taken and none changes. Raises TransientError.

    None too where this host has no ring. Only a ring that looks full is looked at twice.
    """
    layout = Layout.of(settings.ring)
    looks = {look.slot_bytes: look for look in _full(layout, ledger)}
    if not looks:
        return None
    time.sleep(LOOK_AGAIN_SECONDS)
    for again in _full(layout, ledger):
        if looks.get(again.slot_bytes) == again:
            return _finding(again)
    return None


def _full(layout: Layout, ledger: Ledger) -> list[_Look]:
    """The sizes of which no slot is free, and all larger sizes are full, too."""
    try:
        contents = {p.index: layout.header_path(p.index).read_bytes() for p in layout.places}
        locked = holders(layout)
    except OSError:
        return []
    headers = {i: _ref(text) for i, text in contents.items() if i not in locked}
    staged = [i for i, ref in headers.items() if ref is not None]
    answers = ledger.staged([ref for i in staged if (ref := headers[i]) is not None])
    taken = {*locked, *(i for i, is_staged in zip(staged, answers, strict=True) if is_staged)}
    full = []
    for slot_bytes in sorted({place.slot_bytes for place in layout.places}, reverse=True):
        indexes = [place.index for place in layout.places if place.slot_bytes == slot_bytes]
        if not taken.issuperset(indexes):
            break  # what does not find a slot of its size takes a larger one
        pids = {index: locked[index] for index in indexes if index in locked}
        full.append(_Look(slot_bytes, {index: contents[index] for index in indexes}, pids))
    return full


def _ref(header: bytes) -> ChunkRef | None:
    """The chunk that a slot holds; None for a free slot, or a torn header, which is as good."""
    try:
        return ChunkRef(*json.loads(header.rstrip(b"\0")))
    except (ValueError, TypeError):
        return None


def _finding(look: _Look) -> Finding:
    pids = {pid for found in look.pids.values() for pid in found}
    by = f": {len(look.pids)} are locked, by process {described(pids)}" if look.pids else ""
    count, size = len(look.contents), look.slot_bytes >> 20
    return Finding(
        f"The staging ring is full: none of its {count} slots of {size} MiB is free and none "
        f"changed in {LOOK_AGAIN_SECONDS} s{by}.",
        "A slow model empties it in its time. Else run 'headrace restart inference', and end "
        "what of these processes remains.",
        "preprocess",
    )
