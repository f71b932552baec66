"""Taking and reading slots under kernel locks.

Who holds a slot's ``flock`` may touch the slot. Death releases the lock, time never does. A slot
whose lock is free and whose header names nothing staged in the ledger is free.
"""

from __future__ import annotations

import json
import logging
import math
import mmap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple

import numpy as np

from shared.errors import PermanentError, TransientError
from shared.ledger.records import ChunkRef
from shared.locks import Lock
from shared.messages import Slot
from shared.pixels import Pixels
from shared.settings import RingSettings
from shared.staging.holders import described, holders
from shared.staging.layout import Layout, SlotPlace

StagedQuery = Callable[[list[ChunkRef]], list[bool]]

_HEADER_BYTES = 256
_FREE = bytes(_HEADER_BYTES)
_READ_LOCK_SECONDS = 2.0  # a writer that looks at a header holds its lock for microseconds
_FULL_SECONDS = 30.0

log = logging.getLogger(__name__)


class SlotGone(PermanentError):
    """The slot no longer holds this attempt's pixels."""


class _Hold:
    """A locked slot. Letting go a second time does nothing."""

    def __init__(self, place: SlotPlace, lock: Lock, pixels: Pixels) -> None:
        self.index = place.index
        self.pixels = pixels
        self._lock = lock

    def _let_go(self, *, clear: bool) -> None:
        if not self._lock.is_held:
            return
        try:
            if clear:
                self._lock.write(_FREE)
        finally:
            self._lock.release()


class WriteHold(_Hold):
    """A slot being filled. ``pixels``: the whole slot, uint8, one dimension."""

    def release(self) -> None:
        """Let go and leave the content to the reader."""
        self._let_go(clear=False)

    def abandon(self) -> None:
        """Let go and free the slot."""
        self._let_go(clear=True)


class ReadHold(_Hold):
    """A staged slot being read. ``pixels``: the whole slot, uint8, one dimension."""

    def release(self) -> None:
        """Let go and free the slot: the pixels are no longer needed."""
        self._let_go(clear=True)


class StagingRing:
    """This process's mapping of the ring. Thread-safe: every hold opens its own descriptor."""

    def __init__(self, layout: Layout, host_id: str) -> None:
        self._layout = layout
        self.host_id = host_id
        with layout.pixels_path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), layout.total_bytes)
        self._pixels: Pixels = np.frombuffer(self._map, dtype=np.uint8)
        self._said = threading.Lock()
        self._said_at = -math.inf

    @property
    def pixels(self) -> Pixels:
        """All slots as this process has them mapped, uint8, one dimension."""
        return self._pixels

    def take(
        self,
        slot_bytes: int,
        ref: ChunkRef,
        *,
        staged: StagedQuery,
        stopping: Callable[[], bool],
    ) -> WriteHold:
        """Lock a free slot of at least ``slot_bytes``, waiting for one.

        ``staged`` asks the ledger which chunks still wait for inference. Raises PermanentError
        where no slot is that large, TransientError ``stopping`` when ``stopping()`` turns true.
        """
        fitting = [p for p in self._layout.places if p.slot_bytes >= slot_bytes]
        if not fitting:
            raise PermanentError(
                "chunk_too_large",
                f"A chunk of {slot_bytes} bytes is larger than any slot.",
                "Use a smaller --chunk-items.",
            )
        pause_seconds, began = 0.005, time.monotonic()
        while not stopping():
            hold = self._try_take(fitting, ref, staged)
            if hold is not None:
                return hold
            if time.monotonic() - began > _FULL_SECONDS:
                self._say_full({place.index for place in fitting})
            time.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, 0.1)
        raise TransientError("stopping", "The worker is stopping.")

    def read(self, slot: Slot, ref: ChunkRef) -> ReadHold:
        """Lock the slot that holds exactly this attempt's pixels, or raise SlotGone."""
        if slot.host_id != self.host_id or slot.index >= len(self._layout.places):
            raise SlotGone("slot_gone", f"Slot {slot.index} of {slot.host_id} is not of this ring.")
        place = self._layout.places[slot.index]
        deadline = time.monotonic() + _READ_LOCK_SECONDS
        while (lock := self._lock(place)) is None:
            if time.monotonic() > deadline:
                raise SlotGone("slot_gone", f"Slot {slot.index} is locked by somebody else.")
            time.sleep(0.001)
        if _read_header(lock) != ref:
            lock.release()
            raise SlotGone("slot_gone", f"Slot {slot.index} holds another chunk now.")
        return ReadHold(place, lock, self._view(place))

    def _try_take(
        self, fitting: list[SlotPlace], ref: ChunkRef, staged: StagedQuery
    ) -> WriteHold | None:
        filled: list[tuple[SlotPlace, ChunkRef]] = []
        for place, header in self._unlocked_headers(fitting):
            if header is None:
                hold = self._claim(place, ref, None)
                if hold is not None:
                    return hold
            else:
                filled.append((place, header))
        answers = staged([header for _, header in filled])
        for (place, _), is_staged in zip(filled, answers, strict=True):
            if is_staged:
                continue
            hold = self._claim(place, ref, lambda held: staged([held])[0])
            if hold is not None:
                return hold
        return None

    def _unlocked_headers(
        self, places: list[SlotPlace]
    ) -> Iterator[tuple[SlotPlace, ChunkRef | None]]:
        for place in places:
            lock = self._lock(place)
            if lock is None:
                continue
            try:
                header = _read_header(lock)
            finally:
                lock.release()
            yield place, header

    def _claim(
        self, place: SlotPlace, ref: ChunkRef, is_staged: Callable[[ChunkRef], bool] | None
    ) -> WriteHold | None:
        """Lock, look again, and take. The ledger is asked under the lock: a writer lets go of its
        lock only after the ledger says that the slot is staged."""
        lock = self._lock(place)
        if lock is None:
            return None
        try:
            header = _read_header(lock)
            if header is not None and (is_staged is None or is_staged(header)):
                lock.release()
                return None
            lock.write(_header(ref))
        except BaseException:
            lock.release()
            raise
        return WriteHold(place, lock, self._view(place))

    def _lock(self, place: SlotPlace) -> Lock | None:
        return Lock.take(self._layout.header_path(place.index))

    def _say_full(self, fitting: set[int]) -> None:
        """Once in a while for all threads that wait."""
        with self._said:
            if time.monotonic() - self._said_at < _FULL_SECONDS:
                return
            self._said_at = time.monotonic()
        held = {i: found for i, found in holders(self._layout).items() if i in fitting}
        pids = {pid for found in held.values() for pid in found}
        locked = f"{len(held)} are locked, by {described(pids)}; the others" if held else "all"
        log.warning(
            "none of %d slots has come free for %g s: %s wait for inference",
            *(len(fitting), _FULL_SECONDS, locked),
        )

    def _view(self, place: SlotPlace) -> Pixels:
        return self._pixels[place.offset : place.offset + place.slot_bytes]


def _header(ref: ChunkRef) -> bytes:
    return json.dumps(astuple(ref)).encode().ljust(_HEADER_BYTES, b"\0")


def _read_header(lock: Lock) -> ChunkRef | None:
    return chunk_in(lock.read(_HEADER_BYTES))


def chunk_in(header: bytes) -> ChunkRef | None:
    """The chunk that a slot's header names; None for a free slot."""
    text = header.rstrip(b"\0")
    if not text:
        return None
    try:
        incarnation, job_uid, chunk, attempt = json.loads(text)
        return ChunkRef(str(incarnation), str(job_uid), int(chunk), int(attempt))
    except (ValueError, TypeError):
        return ChunkRef("torn", "torn", 0, 0)  # matches no reader and nothing in the ledger


def open_ring(ring: RingSettings, host_id: str) -> StagingRing:
    """Map the ring that ``create_ring`` made. Raises PermanentError ``no_ring``."""
    try:
        return StagingRing(Layout.of(ring), host_id)
    except (FileNotFoundError, ValueError) as error:
        raise PermanentError(
            "no_ring", f"No staging ring in {ring.directory}.", "Run 'headrace up'."
        ) from error
