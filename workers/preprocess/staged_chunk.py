"""A chunk on its way to inference: what is known of its items, and where their pixels lie."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from shared.errors import ItemError
from shared.item import Item, ItemFailure
from shared.messages import Batch, Chunk, Parcel, Slot, StagedItem, Timings
from shared.staging import NetworkWriteHold, WriteHold
from shared.staging.ring import Pixels
from workers.preprocess.encoding import Encoded
from workers.preprocess.fetch import Payload
from workers.preprocess.fill import Decoder

Hold = WriteHold | NetworkWriteHold
# Calls what it gets until it raises no TransientError, or the worker stops.
Retry = Callable[[Callable[[], None]], None]


class StagedChunk:
    """An entry for each item so far, and a row in the slot or parcel for each good one.

    ``hold`` keeps the slot or parcel; None until there are pixels. The rows lie densely, in the
    order of the items that did not fail.
    """

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.hold: Hold | None = None
        self._preprocess = chunk.pipeline.preprocess
        self._entries: list[StagedItem] = []
        self._images = 0
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time that the body takes to one of the batch's timings."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] += time.monotonic() - started

    def bytes_to_take(self, payloads: Sequence[Payload]) -> int:
        """How many bytes to take before the first pixels, for all that may follow them.

        0 where they are taken, or ``payloads``, the next items', have no image.
        """
        fetched = sum(not isinstance(payload, ItemFailure) for payload in payloads)
        if self.hold is not None or not fetched:
            return 0
        unseen = len(self.chunk.items) - len(self._entries) - len(payloads)
        return (fetched + unseen) * self._preprocess.image_bytes

    def add(self, item: Item, payload: Payload, decode: Decoder) -> None:
        """Put the chunk's next item into the next row, or note why it cannot be."""
        self._entries.append(self._entry(item, payload, decode))

    def finish(self, host_id: str, retry: Retry) -> Batch:
        """Send a parcel by ``retry``, or free what no item has pixels for. Gives inference's
        message. Raises SlotGone, TransientError.
        """
        if not self._images:
            self.abandon()
        staged = self._send_or_place(host_id, retry)
        return self.chunk.onward(
            Batch,
            bucket=self.chunk.bucket,
            items=self._entries,
            staged=staged,
            timings=Timings(**self._seconds),
        )

    def abandon(self) -> None:
        """Free the slot or the parcel, if there is one."""
        if self.hold is not None:
            self.hold.abandon()
            self.hold = None

    def _entry(self, item: Item, payload: Payload, decode: Decoder) -> StagedItem:
        if isinstance(payload, ItemFailure):
            return StagedItem(item=item, failure=payload)
        encoded = payload if isinstance(payload, Encoded) else Encoded(payload)
        try:
            data = encoded.plain(self._preprocess.max_object_bytes)
            filled = decode(len(self._entries), self._next_row(), data)
        except ItemError as error:
            reason = encoded.explained(error)
            failure = ItemFailure.of(reason.item_code, reason.message)
            return StagedItem(item=item, failure=failure)
        self._images += 1
        return StagedItem(
            item=item, width=filled.width, height=filled.height, warning=filled.warning
        )

    def _next_row(self) -> Pixels:
        assert self.hold is not None
        image_bytes, crop = self._preprocess.image_bytes, self._preprocess.crop_pixels
        start = self._images * image_bytes
        return self.hold.pixels[start : start + image_bytes].reshape(crop, crop, 3)

    def _send_or_place(self, host_id: str, retry: Retry) -> Slot | Parcel | None:
        """Where the pixels are; a parcel's are sent."""
        hold = self.hold
        if hold is None:
            return None
        if isinstance(hold, WriteHold):
            return Slot(host_id=host_id, index=hold.index, images=self._images)
        used_bytes = self._images * self._preprocess.image_bytes
        with self.timed("slot_wait_seconds"):
            retry(lambda: hold.send(used_bytes))
        return Parcel(images=self._images)
