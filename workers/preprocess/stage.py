"""The preprocess stage: a chunk's references become staged pixels. Knows nothing of Celery."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from shared.errors import ItemError, ItemErrorCode, PermanentError, TransientError
from shared.ledger import ChunkRef
from shared.messages import Batch, Chunk, Item, ItemFailure, Parcel, Slot, StagedItem, Timings
from shared.patience import patiently
from shared.pipeline import Preprocess
from shared.stages import INFERENCE, queue_name
from shared.staging import NetworkStaging, Parcelling, SlotGone, StagingRing, WriteHold
from shared.staging.ring import Pixels, StagedQuery
from workers.preprocess.encoding import Encoded
from workers.preprocess.failures import failure, failure_of
from workers.preprocess.fetch import Fetcher, Payload, by_bytes
from workers.preprocess.fill import Fill, filling_here
from workers.preprocess.routes import Routes
from workers.preprocess.suspects import filling_in_child
from workers.runtime import Forward, GiveBack
from workers.suspects import SUSPECT_LOSSES

_LEDGER_PAUSE_SECONDS = 0.5

_Hold = WriteHold | Parcelling


@dataclass(slots=True)
class _Staging:
    """A chunk on its way to inference: an entry for each item so far, a row for each good one."""

    chunk: Chunk
    suspect: bool = False
    hold: _Hold | None = None
    entries: list[StagedItem] = field(default_factory=list)
    images: int = 0
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time that the body takes to one of the batch's timings."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] += time.monotonic() - started

    def abandon(self) -> None:
        """Free the slot or the parcel, if there is one."""
        if self.hold is not None:
            self.hold.abandon()
            self.hold = None


class PreprocessStage:
    """Called with a Chunk, by several threads at once: one decodes while the others fetch.

    ``staged`` asks the ledger which chunks still wait for inference; ``note`` tells it which item
    of a chunk is on trial, and asks how often that was lost. ``network`` is there where ``routes``
    may lead to other hosts.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        ring: StagingRing,
        network: NetworkStaging | None,
        routes: Routes,
        staged: StagedQuery,
        note: Callable[[ChunkRef, int | None], int],
        stopping: threading.Event,
    ) -> None:
        self._fetcher = fetcher
        self._ring, self._network, self._routes = ring, network, routes
        self._staged = staged
        self._note = note
        self._stopping = stopping
        self._decode_turn = threading.Lock()

    def __call__(self, chunk: Chunk, losses: int = 0) -> Forward | GiveBack:
        """The batch, for inference, with its slot locked until the runtime has moved it on, or sent
        to where a device of another host finds it.

        The rows lie densely, in the order of the items that did not fail. The chunk is given back
        where the worker stops first, the store does not answer for minutes, or its parcel is gone.
        With two ``losses`` of its holders each image is decoded in a child, where a killer dies
        without us.
        """
        staging = _Staging(chunk, suspect=losses >= SUSPECT_LOSSES)
        try:
            for items in by_bytes(chunk.items):
                self._add(staging, items)
            return self._forward(staging)
        except (TransientError, SlotGone):
            staging.abandon()
            return GiveBack()
        except BaseException:
            staging.abandon()
            raise

    def _add(self, staging: _Staging, items: Sequence[Item]) -> None:
        chunk, preprocess = staging.chunk, staging.chunk.pipeline.preprocess
        with staging.timed("fetch_seconds"):
            payloads = self._fetcher.fetch(chunk.bucket, items, preprocess.max_object_bytes)
        refusal = self._ensure_slot(staging, payloads)
        with self._filling(staging) as fill, staging.timed("decode_seconds"):
            for item, payload in zip(items, payloads, strict=True):
                staging.entries.append(_stage(staging, item, refusal or payload, fill))

    @contextmanager
    def _filling(self, staging: _Staging) -> Iterator[Fill]:
        """One chunk decodes at a time; a suspect one has a process of its own, however long."""
        preprocess = staging.chunk.pipeline.preprocess
        if staging.suspect:
            place, note = staging.entries.__len__, partial(self._note, staging.chunk.ref)
            with filling_in_child(preprocess, self._stopping, place, note) as fill:
                yield fill
        else:
            with self._decode_turn, filling_here(preprocess) as fill:
                yield fill

    def _ensure_slot(self, staging: _Staging, payloads: list[Payload]) -> ItemFailure | None:
        """Take a slot when the first pixels are to come, for all that may follow them."""
        fetched = sum(not isinstance(payload, ItemFailure) for payload in payloads)
        if staging.hold is not None or not fetched:
            return None
        unseen = len(staging.chunk.items) - len(staging.entries) - len(payloads)
        slot_bytes = (fetched + unseen) * staging.chunk.pipeline.preprocess.image_bytes
        try:
            with staging.timed("slot_wait_seconds"):
                staging.hold = self._take(staging.chunk, slot_bytes)
        except PermanentError as error:  # no slot is that large: no other worker has a larger one
            return failure(ItemErrorCode.TOO_LARGE, str(error))
        return None

    def _take(self, chunk: Chunk, slot_bytes: int) -> _Hold:
        while True:
            is_here = self._routes.is_here()
            try:
                return self._take_by(is_here, chunk.ref, slot_bytes)
            except TransientError:  # the worker stops, the route changed, or nobody answers
                if self._stopping.wait(_LEDGER_PAUSE_SECONDS):
                    raise

    def _take_by(self, is_here: bool, ref: ChunkRef, slot_bytes: int) -> _Hold:
        def stopping() -> bool:
            return self._stopping.is_set() or self._routes.is_here() != is_here

        if is_here or self._network is None:
            return self._ring.take(slot_bytes, ref, staged=self._staged, stopping=stopping)
        return self._network.take(slot_bytes, ref, stopping=stopping)

    def _forward(self, staging: _Staging) -> Forward:
        if not staging.images:
            staging.abandon()
        chunk, hold, staged = staging.chunk, staging.hold, self._place(staging)
        batch = Batch(
            incarnation=chunk.incarnation,
            job_id=chunk.job_id,
            job_uid=chunk.job_uid,
            chunk=chunk.chunk,
            attempt=chunk.attempt,
            pipeline=chunk.pipeline,
            bucket=chunk.bucket,
            items=staging.entries,
            staged=staged,
            timings=Timings(**staging.seconds),
        )
        is_here = isinstance(staged, Slot)
        queue = queue_name(INFERENCE, host=self._ring.host_id if is_here else self._routes.host())
        if hold is None:
            return Forward(INFERENCE, queue, batch)
        return Forward(INFERENCE, queue, batch, hold.release, hold.abandon)

    def _place(self, staging: _Staging) -> Slot | Parcel | None:
        """Where the pixels are; a parcel's are sent. Raises SlotGone, TransientError."""
        hold, images = staging.hold, staging.images
        if hold is None:
            return None
        if isinstance(hold, WriteHold):
            return Slot(host_id=self._ring.host_id, index=hold.index, images=images)
        used_bytes = images * staging.chunk.pipeline.preprocess.image_bytes
        with staging.timed("slot_wait_seconds"):
            patiently(lambda: hold.send(used_bytes), stopping=self._stopping)
        return Parcel(images=images)


def _stage(staging: _Staging, item: Item, payload: Payload, fill: Fill) -> StagedItem:
    """Put one item into the next row, or say why it cannot be."""
    if isinstance(payload, ItemFailure):
        return StagedItem(item=item, failure=payload)
    assert staging.hold is not None
    preprocess = staging.chunk.pipeline.preprocess
    encoded = payload if isinstance(payload, Encoded) else Encoded(payload)
    try:
        data = encoded.plain(preprocess.max_object_bytes)
        filled = fill(_row(staging.hold, staging.images, preprocess), data)
    except ItemError as error:
        return StagedItem(item=item, failure=failure_of(encoded.explained(error)))
    staging.images += 1
    return StagedItem(item=item, width=filled.width, height=filled.height, warning=filled.warning)


def _row(hold: _Hold, index: int, preprocess: Preprocess) -> Pixels:
    start, crop = index * preprocess.image_bytes, preprocess.crop_pixels
    return hold.pixels[start : start + preprocess.image_bytes].reshape(crop, crop, 3)
