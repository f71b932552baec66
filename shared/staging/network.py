"""Staging over the network, for devices of another host: pixels wait in Redis until they are read.

A parcel is the pixels of one attempt at one chunk. It has room, within a budget of bytes, before
anything is decoded for it, and loses it when it is read, when the ledger waits for its attempt no
longer, or when it expires. Nobody needs a lock: attempts are never used again, so what is not
needed once never will be.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import astuple
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.broker.errors import FAILURES, no_answer
from shared.broker.redis_client import redis_client
from shared.errors import PermanentError, TransientError
from shared.ledger import ChunkRef
from shared.pixels import Pixels
from shared.settings import Settings
from shared.staging.ring import SlotGone, StagedQuery

# Memory is bounded by the budget; this only lets go of what nobody asks about any more.
LIFETIME_SECONDS = 3600.0
# Servers bound the length of one value.
PIECE_BYTES = 4 * 2**20
SOCKET_SECONDS = 20.0

_T = TypeVar("_T")

log = logging.getLogger(__name__)


@cache
def _reserve_script() -> str:
    return (Path(__file__).parent / "reserve.lua").read_text()


class NetworkWriteHold:
    """A parcel being filled. ``pixels``: memory of this process, uint8, one dimension."""

    def __init__(self, staging: NetworkStaging, ref: ChunkRef, parcel_bytes: int) -> None:
        self.pixels: Pixels = np.empty(parcel_bytes, np.uint8)
        self._staging, self._ref = staging, ref

    def send(self, used_bytes: int) -> None:
        """Send the first ``used_bytes``. Raises SlotGone where the parcel has expired.

        Raises TransientError; doing it again does no harm.
        """
        self._staging.put(self._ref, self.pixels[:used_bytes])

    def release(self) -> None:
        """Leave the parcel to its reader."""

    def abandon(self) -> None:
        """Give its room back."""
        self._staging.forget(self._ref)


class NetworkStaging:
    """Parcels in one server, of ``budget_bytes`` together. Thread-safe.

    ``still_needed`` asks the ledger which attempts are with, or on their way to, the inference
    stage.
    """

    def __init__(
        self,
        client: redis.Redis,
        still_needed: StagedQuery,
        *,
        budget_bytes: int,
        lifetime_seconds: float = LIFETIME_SECONDS,
    ) -> None:
        self._client: Any = client  # redis-py's types promise more than they know
        self._still_needed = still_needed
        self._budget_bytes = budget_bytes
        self._lifetime_ms = int(lifetime_seconds * 1000)
        self._script = self._client.register_script(_reserve_script())

    def take(
        self, parcel_bytes: int, ref: ChunkRef, *, stopping: Callable[[], bool]
    ) -> NetworkWriteHold:
        """Reserve room for a parcel, waiting for it.

        Raises PermanentError where the budget is smaller, TransientError where the server or the
        ledger does not answer, or ``stopping()`` turns true.
        """
        if parcel_bytes > self._budget_bytes:
            raise PermanentError(
                "chunk_too_large",
                f"A chunk of {parcel_bytes} bytes is larger than the staging's budget.",
                "Use a smaller --chunk-items.",
            )
        pause_seconds = 0.01
        while not stopping():
            others = self._reserve(ref, parcel_bytes)
            if not others:
                return NetworkWriteHold(self, ref, parcel_bytes)
            if not self._reclaim(others):
                time.sleep(pause_seconds)
                pause_seconds = min(pause_seconds * 2, 0.5)
        raise TransientError("stopping", "The worker is stopping.")

    def put(self, ref: ChunkRef, pixels: Pixels) -> None:
        """Fill a parcel that has room; see ``NetworkWriteHold.send``."""
        data = pixels.data
        pieces = [data[i : i + PIECE_BYTES] for i in range(0, len(data), PIECE_BYTES)]
        # Where the room was lost there is no such list, and nothing is added.
        if not self._call(lambda: self._client.rpushx(_pixels_key(ref), *pieces)):
            raise SlotGone("slot_gone", f"The parcel of {ref.name} has expired.")

    def read(self, ref: ChunkRef, used_bytes: int) -> Pixels:
        """The parcel's pixels, uint8, one dimension, in memory of their own; its room is free then.

        Raises SlotGone where it does not hold as many, TransientError where nobody answers.
        """
        count = -(-used_bytes // PIECE_BYTES)
        pieces: list[bytes] = self._call(lambda: self._client.lrange(_pixels_key(ref), 1, count))
        if sum(map(len, pieces)) != used_bytes:
            raise SlotGone("slot_gone", f"The parcel of {ref.name} is gone.")
        pixels, end = np.empty(used_bytes, np.uint8), 0
        for piece in pieces:
            pixels[end : end + len(piece)] = np.frombuffer(piece, np.uint8)
            end += len(piece)
        self.forget(ref)
        return pixels

    def forget(self, *refs: ChunkRef) -> None:
        """Free the parcels' room. Where nobody answers, that is left to whoever needs it."""

        def forget() -> None:
            pipe = self._client.pipeline()
            pipe.delete(*map(_pixels_key, refs))
            pipe.hdel("stage:parcels", *map(_name, refs))
            pipe.execute()

        try:
            self._call(forget)
        except TransientError:
            log.info("%d parcels are left to be reclaimed", len(refs))

    def _reserve(self, ref: ChunkRef, parcel_bytes: int) -> list[str]:
        """Nothing where it has room now, and else the parcels that there are."""
        args = [_name(ref), parcel_bytes, self._budget_bytes, self._lifetime_ms]
        return [name.decode() for name in self._call(lambda: self._script(args=args))]

    def _reclaim(self, parcels: list[str]) -> bool:
        """Free the room of those that nobody waits for. Were there any?"""
        refs = [_ref(name) for name in parcels]
        stale = [
            ref
            for ref, is_needed in zip(refs, self._still_needed(refs), strict=True)
            if not is_needed
        ]
        if stale:
            self.forget(*stale)
        return bool(stale)

    def _call(self, action: Callable[[], _T]) -> _T:
        try:
            return action()
        except FAILURES as error:
            raise no_answer("staging", error) from error


def _name(ref: ChunkRef) -> str:
    return ":".join(map(str, astuple(ref)))


def _ref(name: str) -> ChunkRef:
    incarnation, job_uid, chunk, attempt = name.split(":")
    return ChunkRef(incarnation, job_uid, int(chunk), int(attempt))


def _pixels_key(ref: ChunkRef) -> str:
    return f"stage:pixels:{_name(ref)}"


def connect_network(settings: Settings, still_needed: StagedQuery) -> NetworkStaging | None:
    """Connect lazily to ``settings.staging_url``; None where the settings name none."""
    if not settings.staging_url:
        return None
    client = redis_client(
        settings.staging_url,
        settings.ca_file,
        timeout_seconds=SOCKET_SECONDS,
        health_check_interval=15,
        retry=Retry(NoBackoff(), 1),
    )
    return NetworkStaging(client, still_needed, budget_bytes=settings.staging_bytes)
