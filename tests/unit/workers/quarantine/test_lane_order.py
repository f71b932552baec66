"""In which order a worker looks at its queues."""

from __future__ import annotations

from collections import Counter

import pytest

from workers.quarantine.lanes import SHARE_OF_LAST, LaneOrder


def take(order: LaneOrder, waiting: Counter[str]) -> str | None:
    """Take one message, as both transports do."""
    for queue in order.consume(len(waiting)):
        if waiting[queue]:
            waiting[queue] -= 1
            order.rotate(queue)
            return queue
    return None


@pytest.mark.parametrize("queues", [("a",), ("a", "z"), ("a", "b", "z")])
def test_of_eight_in_a_row_at_least_one_is_of_the_last_queue(queues: tuple[str, ...]) -> None:
    order = LaneOrder()
    order.update(queues)
    waiting = Counter(dict.fromkeys(queues, 1000))
    taken = [take(order, waiting) for _ in range(200)]
    for start in range(len(taken) - SHARE_OF_LAST):
        assert queues[-1] in taken[start : start + SHARE_OF_LAST]
    share = 1 if len(queues) == 1 else 1 / SHARE_OF_LAST
    assert taken.count(queues[-1]) == 200 * share


def test_what_is_not_of_the_last_queue_goes_by_priority() -> None:
    order = LaneOrder()
    order.update(["a", "b", "z"])
    waiting = Counter({"a": 3, "b": 3, "z": 0})
    assert [take(order, waiting) for _ in range(7)] == ["a", "a", "a", "b", "b", "b", None]


def test_a_queue_that_is_empty_holds_up_nothing() -> None:
    order = LaneOrder()
    order.update(["a", "z"])
    waiting = Counter({"a": 20, "z": 0})
    assert [take(order, waiting) for _ in range(20)] == ["a"] * 20
    waiting.update(a=1, z=1)
    assert [take(order, waiting) for _ in range(2)] == ["z", "a"]


def test_without_queues_there_is_none_to_look_at() -> None:
    assert LaneOrder().consume(0) == []
