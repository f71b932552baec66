"""The preprocess stage: references become staged pixels and answers. Knows nothing of Celery."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from shared.errors import ItemErrorCode, PermanentError, TransientError
from shared.item import Item, ItemFailure
from shared.ledger import ChunkRef
from shared.messages import Chunk, Result, Slot
from shared.patience import retry_while_unavailable
from shared.stages import PREPROCESS
from shared.staging import NetworkStaging, SlotGone, StagingRing
from shared.staging.ring import StagedQuery
from workers.preprocess.fetch import Fetcher, Payload, by_bytes
from workers.preprocess.fill import Decoder, decode_here
from workers.preprocess.routes import Routes
from workers.preprocess.staged_chunk import Hold, StagedChunk
from workers.preprocess.suspects import decode_in_child
from workers.runtime import Forward, GiveBack
from workers.suspects import SUSPECT_LOSSES

_LEDGER_PAUSE_SECONDS = 0.5


class PreprocessStage:
    """Called with a Chunk, by several threads at once: one decodes while the others fetch.

    ``still_staged`` asks the ledger which chunks wait for inference; ``note`` tells it which item
    of a chunk is on trial, and asks how often that was lost. ``network`` is there where ``routes``
    may lead to other hosts.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        ring: StagingRing,
        network: NetworkStaging | None,
        routes: Routes,
        still_staged: StagedQuery,
        note: Callable[[ChunkRef, int | None], int],
        stopping: threading.Event,
    ) -> None:
        self._fetcher = fetcher
        self._ring, self._network, self._routes = ring, network, routes
        self._still_staged = still_staged
        self._note = note
        self._stopping = stopping
        self._decode_turn = threading.Lock()

    def __call__(self, chunk: Chunk, losses: int = 0) -> Forward | GiveBack:
        """The batch, for inference, with its slot locked until the runtime has moved it on, or sent
        to where a device of another host finds it; or the result, where nothing needs a device.

        The chunk is given back where the worker stops first, the store does not answer for minutes,
        or its parcel is gone. With two ``losses`` of its holders each image is decoded in a child,
        where a killer dies without us.
        """
        staging, is_suspect = StagedChunk(chunk), losses >= SUSPECT_LOSSES
        try:
            for items in by_bytes(chunk.items):
                payloads = self._fetch(staging, items)
                refusal = self._ensure_room(staging, payloads)
                with self._decoder(chunk, is_suspect) as decode, staging.timed("decode_seconds"):
                    for payload in payloads:
                        staging.add(refusal or payload, decode)
            return self._forward(staging)
        except (TransientError, SlotGone):
            staging.abandon()
            return GiveBack()
        except BaseException:
            staging.abandon()
            raise

    def _fetch(self, staging: StagedChunk, items: Sequence[Item]) -> list[Payload]:
        chunk = staging.chunk
        with staging.timed("fetch_seconds"):
            return self._fetcher.fetch(
                chunk.bucket, items, chunk.pipeline.preprocess.max_object_bytes
            )

    @contextmanager
    def _decoder(self, chunk: Chunk, is_suspect: bool) -> Iterator[Decoder]:
        """One chunk decodes at a time; a suspect one has a process of its own, however long."""
        if is_suspect:
            note = partial(self._note, chunk.ref)
            with decode_in_child(chunk.pipeline, self._stopping, note) as decode:
                yield decode
        else:
            with self._decode_turn, decode_here(chunk.pipeline) as decode:
                yield decode

    def _ensure_room(self, staging: StagedChunk, payloads: list[Payload]) -> ItemFailure | None:
        """Take a slot or a parcel when the first pixels are to come."""
        slot_bytes = staging.bytes_to_take(payloads)
        if not slot_bytes:
            return None
        try:
            with staging.timed("slot_wait_seconds"):
                staging.hold = self._take(staging.chunk, slot_bytes)
        except PermanentError as error:  # no slot is that large: no other worker has a larger one
            return ItemFailure.of(ItemErrorCode.TOO_LARGE, str(error))
        return None

    def _take(self, chunk: Chunk, slot_bytes: int) -> Hold:
        while True:
            is_here = self._routes.is_here()
            try:
                return self._take_by(is_here, chunk.ref, slot_bytes)
            except TransientError:  # the worker stops, the route changed, or nobody answers
                if self._stopping.wait(_LEDGER_PAUSE_SECONDS):
                    raise

    def _take_by(self, is_here: bool, ref: ChunkRef, slot_bytes: int) -> Hold:
        def stopping() -> bool:
            return self._stopping.is_set() or self._routes.is_here() != is_here

        if is_here or self._network is None:
            return self._ring.take(slot_bytes, ref, staged=self._still_staged, stopping=stopping)
        return self._network.take(slot_bytes, ref, stopping=stopping)

    def _forward(self, staging: StagedChunk) -> Forward:
        send = partial(retry_while_unavailable, stopping=self._stopping)
        message = staging.finish(self._ring.host_id, send)
        stage = staging.chunk.pipeline.stage_after(PREPROCESS)
        if isinstance(message, Result):
            return Forward(stage, message)
        is_here = isinstance(message.staged, Slot)
        host = self._ring.host_id if is_here else self._routes.host()
        if staging.hold is None:
            return Forward(stage, message, host)
        return Forward(stage, message, host, staging.hold.release, staging.hold.abandon)
