"""The store: objects in memory, listed page by page while they change."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from shared.storage import ObjectInfo
from tests.simulation.gate import Gate
from tests.support.memory_store import MemoryStore

_T = TypeVar("_T")

PAGE_KEYS = 4


class SimulatedStore(MemoryStore):
    """Every seed's store lists in another order, from where the last page ended."""

    def __init__(self, gate: Gate, chance: random.Random, *buckets: str) -> None:
        super().__init__(*buckets)
        self._gate = gate
        self._page_seconds = chance.choice((0.0, 0.0, 0.05, 0.4))
        self._salt = chance.randbytes(4) if chance.random() < 0.5 else b""

    def request(self, name: str, key: str, action: Callable[[], _T]) -> _T:
        return self._gate.call("store", name, key, action)

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        last = b""
        while page := self.request("list", prefix, lambda: self._page(bucket, prefix, last)):  # noqa: B023
            yield from page
            last = self._order(page[-1])
            if len(page) < PAGE_KEYS:
                return
            self._gate.clock.sleep(self._page_seconds)

    def _page(self, bucket: str, prefix: str, last: bytes) -> Sequence[ObjectInfo]:
        left = [info for info in self.found(bucket, prefix) if self._order(info) > last]
        return sorted(left, key=self._order)[:PAGE_KEYS]

    def _order(self, info: ObjectInfo) -> bytes:
        name = info.key.encode()
        return hashlib.md5(self._salt + name).digest() if self._salt else name
