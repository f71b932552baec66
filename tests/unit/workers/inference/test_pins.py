"""What workers remember of their jobs' precision, while the store hangs and while two choose."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from shared.job import EngineChoice
from shared.job_store import JobStore
from shared.messages import Batch
from tests.support import samples
from tests.support.memory_store import MemoryStore
from workers.inference.pins import JobPins

_T = TypeVar("_T")

DEADLINE = 20
FLOAT32 = EngineChoice(engine="openvino", precision="float32", device="cpu", reason="")
BFLOAT16 = FLOAT32.model_copy(update={"precision": "bfloat16"})


class HangingStore(MemoryStore):
    """Requests for keys with ``word`` in them wait for ``gate`` before they are answered."""

    def __init__(self, word: str) -> None:
        super().__init__("state")
        self.word = word
        self.asked: list[str] = []
        self.began, self.gate = threading.Semaphore(0), threading.Event()

    def request(self, name: str, key: str, action: Callable[[], _T]) -> _T:
        self.asked.append(name)
        if self.word not in key:
            return action()
        if name == "get":
            self.began.release()
            assert self.gate.wait(DEADLINE)
        return action()


def batch_of_job(uid: str) -> Batch:
    return samples.batch().model_copy(update={"job_uid": uid * 32})


def test_a_store_that_hangs_for_one_job_holds_up_no_other() -> None:
    store = HangingStore("b" * 32)
    pins = JobPins(JobStore(store, "state"))
    assert pins.settle(batch_of_job("a"), "classes", FLOAT32) == FLOAT32
    with ThreadPoolExecutor() as threads:
        hanging = threads.submit(pins.settle, batch_of_job("b"), "classes", FLOAT32)
        try:
            assert store.began.acquire(timeout=DEADLINE)
            known = threads.submit(pins.settle, batch_of_job("a"), "classes", BFLOAT16)
            assert known.result(DEADLINE / 2) == FLOAT32
        finally:
            store.gate.set()
        assert hanging.result(DEADLINE) == FLOAT32


def test_two_workers_that_choose_at_once_come_to_one_precision() -> None:
    store = HangingStore("")
    workers = [JobPins(JobStore(store, "state")) for _ in range(2)]
    with ThreadPoolExecutor() as threads:
        choices = zip(workers, (FLOAT32, BFLOAT16), strict=True)
        settled = [
            threads.submit(pins.settle, batch_of_job("a"), "classes", own) for pins, own in choices
        ]
        try:
            for _ in workers:  # each has tried to write, and neither has read
                assert store.began.acquire(timeout=DEADLINE)
        finally:
            store.gate.set()
        first, second = (each.result(DEADLINE) for each in settled)
    assert first == second
    assert first in (FLOAT32, BFLOAT16)
    assert [pins.settled(batch_of_job("a"), "classes") for pins in workers] == [first, first]


def test_what_is_settled_is_asked_of_the_store_once() -> None:
    store = HangingStore("never")
    JobPins(JobStore(store, "state")).settle(batch_of_job("a"), "classes", FLOAT32)
    store.asked.clear()
    pins = JobPins(JobStore(store, "state"))
    assert pins.settled(batch_of_job("b"), "classes") is None
    for _ in range(3):
        assert pins.settled(batch_of_job("a"), "classes") == FLOAT32
        assert pins.settle(batch_of_job("a"), "classes", BFLOAT16) == FLOAT32
    assert store.asked == ["get", "get"]


def test_each_analysis_of_a_job_has_a_choice_of_its_own() -> None:
    pins = JobPins(JobStore(MemoryStore("state"), "state"))
    batch = batch_of_job("a")
    assert pins.settle(batch, "objects", FLOAT32) == FLOAT32
    assert pins.settle(batch, "style", BFLOAT16) == BFLOAT16
    assert pins.settled(batch, "objects") == FLOAT32
