"""How many images of each model the device takes at once: fewer where its memory was too small."""

from __future__ import annotations

import threading

from workers.inference.model_types import ModelKey

# After so many batches the double is tried: the memory may be free again.
GROW_BATCHES = 50


class BatchSizes:
    """``max_images`` images for every model, until a batch of it did not fit. Thread-safe."""

    def __init__(self, max_images: int) -> None:
        self._max_images = max_images
        self._lock = threading.Lock()
        self._reduced: dict[ModelKey, tuple[int, int]] = {}  # images, batches that ran since

    def of(self, key: ModelKey) -> int:
        """The most images of this model that may be in a batch."""
        return self._reduced.get(key, (self._max_images, 0))[0]

    def shrink(self, key: ModelKey, images: int) -> int:
        """A batch of ``images``, two or more, was too large. Returns the size from now on."""
        with self._lock:
            self._reduced[key] = (images // 2, 0)
        return images // 2

    def ran(self, key: ModelKey) -> None:
        """A batch of this model fitted."""
        with self._lock:
            if key not in self._reduced:
                return
            images, batches = self._reduced[key]
            if batches + 1 < GROW_BATCHES:
                self._reduced[key] = (images, batches + 1)
            elif 2 * images < self._max_images:
                self._reduced[key] = (2 * images, 0)
            else:
                del self._reduced[key]
