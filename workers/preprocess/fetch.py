"""The bytes of a chunk's items, many at once, or why there are none."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from shared.errors import HeadraceError, ItemErrorCode, TransientError, UsageError
from shared.item import Item, ItemFailure
from shared.patience import retry_while_unavailable
from shared.storage import (
    BucketMissing,
    ObjectArchived,
    ObjectChanged,
    ObjectMissing,
    ObjectTooLarge,
    Store,
)
from workers.preprocess.encoding import Encoded, as_encoded

log = logging.getLogger(__name__)

StoreOf = Callable[[str], Store]
Payload = bytes | Encoded | ItemFailure

FETCH_THREADS = 16
# How long one chunk waits for a store that does not answer, before somebody else may try.
PATIENCE_SECONDS = 300.0
# Listed bytes that are fetched ahead of decoding: what a chunk of large objects may hold in memory.
GROUP_BYTES = 128 * 2**20

_CODES: dict[type[HeadraceError], ItemErrorCode] = {
    ObjectMissing: ItemErrorCode.MISSING,
    BucketMissing: ItemErrorCode.MISSING,
    ObjectChanged: ItemErrorCode.CHANGED,
    ObjectTooLarge: ItemErrorCode.TOO_LARGE,
    ObjectArchived: ItemErrorCode.ARCHIVED,
}


class Fetcher:
    """Fetches from whichever store serves a bucket. One per process, shared by its threads."""

    def __init__(
        self,
        store_of: StoreOf,
        stopping: threading.Event,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._store_of = store_of
        self._stopping = stopping
        self._patience_seconds = patience_seconds
        self._executor = ThreadPoolExecutor(FETCH_THREADS, thread_name_prefix="fetch")
        self._last_given: Callable[[], bytes | Encoded] | None = None

    def fetch(self, bucket: str, items: Sequence[Item], max_bytes: int) -> list[Payload]:
        """What each item has to give, in their order.

        An item that the store does not give in time, though it gives others, has timed out. Raises
        TransientError where it gives none, or the worker stops: that is no item's fault.
        """
        deadline = time.monotonic() + self._patience_seconds
        try:
            store = self._store_of(bucket)
        except UsageError as error:  # no credentials for it here
            return [ItemFailure.of(ItemErrorCode.UNREADABLE, error.message)] * len(items)
        payloads: dict[int, Payload] = {}
        # Each thread takes the next one until none is left: a future an item would cost more than
        # all else that is done here.
        left = iter(enumerate(items))

        def fetch_on() -> None:
            for index, item in left:
                payloads[index] = self._fetch(store, bucket, item, max_bytes, deadline)

        threads = min(FETCH_THREADS, len(items))
        futures = [self._executor.submit(fetch_on) for _ in range(threads)]
        try:
            for future in futures:
                future.result()
        except BaseException:
            deque(left, maxlen=0)  # nobody takes another
            raise
        return [payloads[index] for index in range(len(items))]

    def _fetch(
        self, store: Store, bucket: str, item: Item, max_bytes: int, deadline: float
    ) -> Payload:
        if item.size == 0:
            return ItemFailure.of(ItemErrorCode.EMPTY, "The object has no bytes.")
        if item.size > max_bytes:
            reason = f"The object has {item.size} bytes, more than {max_bytes}."
            return ItemFailure.of(ItemErrorCode.TOO_LARGE, reason)

        def get() -> bytes | Encoded:
            etag = item.etag or None
            info, data = store.get_object(bucket, item.key, max_bytes=max_bytes, etag=etag)
            return as_encoded(data, info.encoding)

        patience_seconds = max(0.0, deadline - time.monotonic())
        try:
            data = retry_while_unavailable(
                get, stopping=self._stopping, deadline_seconds=patience_seconds
            )
        except TransientError as error:
            if self._stopping.is_set() or not self._gives_others():
                raise
            return ItemFailure.of(
                ItemErrorCode.TIMED_OUT,
                f"Timed out, although other objects were read: {error.message}",
            )
        except MemoryError:
            raise
        except HeadraceError as error:
            return ItemFailure.of(_CODES.get(type(error), ItemErrorCode.UNREADABLE), error.message)
        except Exception as error:  # else its chunk would come back for ever
            log.exception("cannot fetch %r", item.key)
            return ItemFailure.of(ItemErrorCode.UNREADABLE, f"{type(error).__name__}: {error}")
        self._last_given = get
        return data

    def _gives_others(self) -> bool:
        """Asked for what came last, does it come again?"""
        try:
            return self._last_given is not None and bool(self._last_given())
        except HeadraceError:
            return False


def by_bytes(items: Sequence[Item], limit: int = GROUP_BYTES) -> Iterator[Sequence[Item]]:
    """Neighbouring items in groups of at most ``limit`` listed bytes; a larger item is alone."""
    start = total = 0
    for index, item in enumerate(items):
        if index > start and total + item.size > limit:
            yield items[start:index]
            start, total = index, 0
        total += item.size
    yield items[start:]
