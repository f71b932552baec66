"""A store of which a test says what each key answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from shared.item import Item
from tests.support.memory_store import MemoryStore

_T = TypeVar("_T")


class FakeStore(MemoryStore):
    """One bucket, ``photos``. ``errors``: raised by key, one for each request, before the answer.

    ``calls``: the key of each request.
    """

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__("photos")
        self.objects = self.buckets["photos"] = objects
        self.errors: dict[str, list[Exception]] = {}
        self.calls: list[str] = []
        self._lock = threading.Lock()

    def items(self, keys: Iterable[str] | None = None) -> list[Item]:
        """The objects as a listing shows them."""
        listed = {info.key: info for info in self.found("photos")}
        chosen = [listed[key] for key in (keys or self.objects)]
        return [Item(key=info.key, etag=info.etag, size=info.size) for info in chosen]

    def request(self, name: str, key: str, action: Callable[[], _T]) -> _T:
        with self._lock:
            self.calls.append(key)
            if remaining := self.errors.get(key):
                raise remaining.pop(0)
        return action()
