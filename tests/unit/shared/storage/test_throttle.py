"""A store that asks for fewer requests gets fewer, and slowly more again."""

from __future__ import annotations

import threading

import pytest

from shared.storage import SlowDown
from shared.storage.throttle import Throttle


def be_refused(together: threading.Barrier | None = None) -> None:
    if together is not None:
        together.wait(10)
    raise SlowDown("slow_down", "Less.")


def test_a_refusal_halves_what_went_at_once_and_counts_once_for_all_of_it() -> None:
    throttle = Throttle(64)
    barrier = threading.Barrier(16)

    def ask() -> None:
        with pytest.raises(SlowDown), throttle.turn():
            be_refused(barrier)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert throttle.at_once == 8


def test_one_may_always_go_and_each_ten_rounds_that_are_taken_add_one() -> None:
    throttle = Throttle(3)
    for _ in range(5):
        with pytest.raises(SlowDown), throttle.turn():
            be_refused()
    assert throttle.at_once == 1
    seen = []
    for _ in range(100):
        with throttle.turn():
            seen.append(throttle.at_once)
    assert seen == sorted(seen)
    assert throttle.at_once == 3


def test_who_is_over_the_bound_waits_for_its_turn() -> None:
    throttle = Throttle(1)
    went = threading.Event()

    def ask() -> None:
        with throttle.turn():
            went.set()

    thread = threading.Thread(target=ask)
    with throttle.turn():
        thread.start()
        assert not went.wait(0.05)
    assert went.wait(10)
    thread.join()
