"""The order in which a worker looks at the queues of its lanes."""

from __future__ import annotations

from collections.abc import Iterable

# While messages wait in the last queue, at least one of so many that a worker takes is from there.
SHARE_OF_LAST = 8


class LaneOrder:
    """The queue of the first lane goes first, but the last lane is never starved.

    Kombu's Redis channel takes this as its ``queue_order_strategy``, and calls these methods.
    Kombu's own strategies give every queue the same chance, or the last one none.
    """

    def __init__(self) -> None:
        self._queues: list[str] = []
        self._taken_since_last = 0

    def update(self, queues: Iterable[str]) -> None:
        """Set the queues, in order of priority."""
        self._queues = list(queues)

    def consume(self, count: int) -> list[str]:
        """The first ``count`` queues in the order in which to look at them now."""
        if self._taken_since_last >= SHARE_OF_LAST - 1:
            return [*self._queues[-1:], *self._queues[:-1]][:count]
        return self._queues[:count]

    def rotate(self, queue: str) -> None:
        """Note that a message was taken from ``queue``."""
        from_last = queue in self._queues[-1:]
        self._taken_since_last = 0 if from_last else self._taken_since_last + 1
