"""A store of which a test says what each key answers."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from shared.messages import Item
from shared.storage import ObjectChanged, ObjectInfo, ObjectMissing, ObjectTooLarge, Store

ETAG = "etag"


class FakeStore(Store):
    """``objects``: bytes by key. ``errors``: raised by key, one for each call, before the bytes."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.errors: dict[str, list[Exception]] = {}
        self.calls: list[str] = []
        self._lock = threading.Lock()

    def items(self, keys: Iterable[str] | None = None) -> list[Item]:
        """The objects as a listing shows them."""
        return [Item(key=k, etag=ETAG, size=len(self.objects[k])) for k in keys or self.objects]

    def get_object(
        self, bucket: str, key: str, *, max_bytes: int | None = None, etag: str | None = None
    ) -> tuple[ObjectInfo, bytes]:
        with self._lock:
            self.calls.append(key)
            if remaining := self.errors.get(key):
                raise remaining.pop(0)
        if key not in self.objects:
            raise ObjectMissing("object_missing", f"There is no {key}.")
        data = self.objects[key]
        if etag not in {None, ETAG}:
            raise ObjectChanged("object_changed", f"{key} was replaced.")
        if max_bytes is not None and len(data) > max_bytes:
            raise ObjectTooLarge("object_too_large", f"{key} has {len(data)} bytes.")
        return ObjectInfo(key, ETAG, len(data)), data
