"""Parcels in memory, as ``shared.staging.NetworkStaging`` has them in a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from shared.errors import TransientError
from shared.ledger import ChunkRef
from shared.pixels import Pixels
from shared.staging import NetworkStaging, NetworkWriteHold, SlotGone


class Parcels:
    """``refusals``: how many of the next calls fail. ``loses_room``: nothing can be sent."""

    def __init__(self, *, loses_room: bool = False, refusals: int = 0) -> None:
        self.reserved: dict[ChunkRef, int] = {}
        self.sent: dict[ChunkRef, Pixels] = {}
        self.refusals = refusals
        self._loses_room = loses_room

    def take(
        self, parcel_bytes: int, ref: ChunkRef, *, stopping: Callable[[], bool]
    ) -> NetworkWriteHold:
        self._refuse()
        self.reserved[ref] = parcel_bytes
        return NetworkWriteHold(cast(NetworkStaging, self), ref, parcel_bytes)

    def put(self, ref: ChunkRef, pixels: Pixels) -> None:
        self._refuse()
        if self._loses_room:
            raise SlotGone("slot_gone", "The room was lost.")
        self.sent[ref] = pixels.copy()

    def read(self, ref: ChunkRef, used_bytes: int) -> Pixels:
        self._refuse()
        pixels = self.sent.pop(ref, None)
        if pixels is None or pixels.size != used_bytes:
            raise SlotGone("slot_gone", "There is no such parcel.")
        return pixels

    def forget(self, *refs: ChunkRef) -> None:
        for ref in refs:
            self.reserved.pop(ref, None)
            self.sent.pop(ref, None)

    def _refuse(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise TransientError("staging_unavailable", "Not now.")
