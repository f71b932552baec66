"""A chunk on its way through preprocessing: what is known of its items, and their pixels."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from shared.answers import about_items, answer_schema, fitting, good_rows
from shared.errors import ItemError
from shared.item import ItemFailure
from shared.messages import Batch, Chunk, Parcel, Result, Slot, Timings
from shared.pixels import Pixels
from shared.stages import INFERENCE, PREPROCESS
from shared.staging import NetworkWriteHold, WriteHold
from shared.staging.pixel_layout import PixelLayout
from workers.preprocess.encoding import Encoded
from workers.preprocess.fetch import Payload
from workers.preprocess.fill import Decoder, Filled

Hold = WriteHold | NetworkWriteHold
# Calls what it gets until it raises no TransientError, or the worker stops.
Retry = Callable[[Callable[[], None]], None]


class StagedChunk:
    """An entry for each item so far and, where a model needs its pixels, rows for each good one.

    ``hold`` keeps the slot or parcel; None until there are pixels. The rows of each view lie
    densely, in the order of the items that did not fail.
    """

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.hold: Hold | None = None
        self._pipeline = chunk.pipeline
        # For the images that the hold has room for.
        self._layout = PixelLayout(self._pipeline.staged_views, images=0)
        self._entries: list[Filled | ItemFailure] = []
        self._good: list[int] = []  # the places of the items whose rows are filled, in their order
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time that the body takes to one of the message's timings."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] += time.monotonic() - started

    def bytes_to_take(self, payloads: Sequence[Payload]) -> int:
        """How many bytes to take before the first pixels, for all that may follow them.

        0 where they are taken, where ``payloads``, the next items', have no image, or where no
        model needs pixels.
        """
        fetched = sum(not isinstance(payload, ItemFailure) for payload in payloads)
        if self.hold is not None or not fetched:
            return 0
        unseen = len(self.chunk.items) - len(self._entries) - len(payloads)
        self._layout = PixelLayout(self._pipeline.staged_views, fetched + unseen)
        return self._layout.total_bytes

    def add(self, payload: Payload, decode: Decoder) -> None:
        """Put the chunk's next item into the next rows, or note why it cannot be."""
        entry = self._entry(payload, decode)
        if isinstance(entry, Filled):
            self._good.append(len(self._entries))
        self._entries.append(entry)

    def finish(self, host_id: str, retry: Retry) -> Batch | Result:
        """The next stage's message. A parcel is sent by ``retry``; rows that no item has pixels
        for are freed. Raises SlotGone, TransientError.
        """
        answers = fitting(self._answers())
        self._keep(good_rows(answers).to_pylist())
        if self._pipeline.stage_after(PREPROCESS) is not INFERENCE:
            return self.chunk.onward(
                Result,
                answers=answers,
                computed={},
                scored_at=time.time(),
                timings=Timings(**self._seconds),
            )
        if not self._good:
            self.abandon()
        has_class = self._pipeline.has_class
        return self.chunk.onward(
            Batch,
            answers=answers,
            keys=[item.key for item in self.chunk.items] if has_class else [],
            staged=self._send_or_place(host_id, retry),
            timings=Timings(**self._seconds),
        )

    def abandon(self) -> None:
        """Free the slot or the parcel, if there is one."""
        if self.hold is not None:
            self.hold.abandon()
            self.hold = None

    def _entry(self, payload: Payload, decode: Decoder) -> Filled | ItemFailure:
        if isinstance(payload, ItemFailure):
            return payload
        encoded = payload if isinstance(payload, Encoded) else Encoded(payload)
        try:
            data = encoded.plain(self._pipeline.preprocess.max_object_bytes)
            return decode(len(self._entries), self._next_rows(), data)
        except ItemError as error:
            reason = encoded.explained(error)
            return ItemFailure.of(reason.item_code, reason.message)

    def _next_rows(self) -> Sequence[Pixels]:
        if self.hold is None:
            assert not self._pipeline.staged_views
            return ()
        return self._layout.rows(self.hold.pixels, len(self._good))

    def _answers(self) -> pa.RecordBatch:
        good = {n: e for n, e in enumerate(self._entries) if isinstance(e, Filled)}
        failures = {
            n: each for n, each in enumerate(self._entries) if isinstance(each, ItemFailure)
        }
        warnings = {n: each.warning for n, each in good.items() if each.warning}
        rows = range(len(self._entries))
        found = about_items(
            [(good[n].width, good[n].height) if n in good else None for n in rows],
            failures,
            warnings,
        )
        schema = answer_schema(self._pipeline, PREPROCESS)
        for field in schema:
            if field.name not in found:
                column = [good[n].answers[field.name] if n in good else None for n in rows]
                found[field.name] = pa.array(column, field.type)
        return pa.RecordBatch.from_arrays([found[name] for name in schema.names], schema=schema)

    def _keep(self, good: Sequence[int]) -> None:
        """Close up the rows of the items at the places ``good``: of all that have rows, or fewer
        where answers do not fit into a message."""
        had, self._good = self._good, list(good)
        if self.hold is None:
            return
        pixels = self.hold.pixels
        for new, place in enumerate(good):
            if place != had[new]:
                moved = self._layout.rows(pixels, had.index(place))
                for row, image in zip(self._layout.rows(pixels, new), moved, strict=True):
                    row[:] = image
        self._layout.close_up(pixels, len(good))
        self._layout = PixelLayout(self._pipeline.staged_views, len(good))

    def _send_or_place(self, host_id: str, retry: Retry) -> Slot | Parcel | None:
        """Where the pixels are; a parcel's are sent."""
        hold, images = self.hold, len(self._good)
        if hold is None:
            return None
        if isinstance(hold, WriteHold):
            return Slot(host_id=host_id, index=hold.index, images=images)
        with self.timed("slot_wait_seconds"):
            retry(lambda: hold.send(self._layout.total_bytes))
        return Parcel(images=images)
