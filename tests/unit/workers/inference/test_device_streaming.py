"""The device loop over an engine that streams: one batch runs while the next arrives."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from tests.support.fake_engine import (
    POISON,
    FakeEngine,
    firsts_of,
    images_of,
    loop_over,
    outputs_of,
)
from tests.support.samples import pipeline
from tests.support.waiting import wait_for
from workers.inference.engines import LAUNCHED_BATCHES, DeviceRun, Images
from workers.inference.errors import EngineError
from workers.inference.model_types import LoadedModel, ModelKey

KEY = ModelKey.of(pipeline(), "classes")
DEADLINE = 20
LARGE = 77


@dataclass
class PendingRun:
    """Ends when the test says so. A ``POISON`` is noticed on the device, not before, as is that
    a batch with ``LARGE`` in it is too large."""

    firsts: list[int]
    done: threading.Event = field(default_factory=threading.Event)

    def wait(self) -> DeviceRun:
        assert self.done.wait(DEADLINE)
        if LARGE in self.firsts and len(self.firsts) > 1:
            raise MemoryError
        if POISON in self.firsts:
            raise RuntimeError("device-side assert")
        return DeviceRun(outputs_of(self.firsts), 0.5, time.time())


class Streaming(FakeEngine):
    """Notes what it is given, and may have no room for large batches."""

    room = 1000

    def __init__(self) -> None:
        super().__init__()
        self.launched: list[PendingRun] = []

    def launch(self, pieces: Sequence[Images], seconds: float) -> PendingRun:
        firsts = [int(image.flat[0]) for piece in pieces for image in piece]
        if len(firsts) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.inputs.extend(pieces)
        self.launched.append(PendingRun(firsts))
        return self.launched[-1]


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def engine() -> Streaming:
    return Streaming()


def launched(engine: Streaming, batches: int) -> None:
    """Wait until the device has been given at least so many batches."""
    wait_for(lambda: len(engine.launched) >= batches, what=f"{batches} batches", every=0.001)


def batches(engine: Streaming) -> list[list[int]]:
    return [batch.firsts for batch in engine.launched]


def test_so_many_are_under_way_and_the_others_join_meanwhile(
    engine: Streaming, opened: ExitStack
) -> None:
    loop = loop_over(engine, batch_images=4)
    opened.callback(loop.close)
    chunks = [images_of(number) for number in range(6)]
    futures = []
    for number in range(LAUNCHED_BATCHES):
        futures.append(loop.submit(KEY, chunks[number]))
        launched(engine, number + 1)
    futures += [loop.submit(KEY, chunk) for chunk in chunks[LAUNCHED_BATCHES:]]
    engine.launched[0].done.set()
    launched(engine, LAUNCHED_BATCHES + 1)
    assert batches(engine) == [[0], [1], [2, 3, 4, 5]]
    assert [future.done() for future in futures] == [True, *[False] * 5]
    for batch in engine.launched[1:]:
        batch.done.set()
    answers = [future.result(DEADLINE) for future in futures]
    assert [firsts_of(answer.outputs) for answer in answers] == [[n] for n in range(6)]
    assert [answer.device_seconds for answer in answers] == [0.5, 0.5, *[0.125] * 4]
    assert all(answer.ended_at - answer.started_at == pytest.approx(0.5) for answer in answers)


def test_pieces_reach_the_engine_uncopied(engine: Streaming, opened: ExitStack) -> None:
    loop = loop_over(engine, batch_images=3, max_wait_seconds=60, submitters=2)
    opened.callback(loop.close)
    chunks = [images_of(1, 2), images_of(3)]
    for chunk in chunks:
        loop.submit(KEY, chunk)
    launched(engine, 1)
    engine.launched[0].done.set()
    assert all(map(np.shares_memory, engine.inputs, chunks))


def test_what_the_device_raises_reaches_exactly_its_batch(
    engine: Streaming, opened: ExitStack
) -> None:
    loop = loop_over(engine, batch_images=1)
    opened.callback(loop.close)
    futures = [loop.submit(KEY, images_of(first)) for first in (1, POISON, 2)]
    for number in range(3):
        launched(engine, number + 1)
        engine.launched[number].done.set()
    with pytest.raises(EngineError, match="device-side assert"):
        futures[1].result(DEADLINE)
    assert [firsts_of(futures[n].result(DEADLINE).outputs) for n in (0, 2)] == [[1], [2]]


def test_a_batch_too_large_is_halved_while_another_runs(
    engine: Streaming, opened: ExitStack
) -> None:
    engine.room = 2
    loop = loop_over(engine, batch_images=8)
    opened.callback(loop.close)
    running = loop.submit(KEY, images_of(9))
    launched(engine, 1)
    halved = loop.submit(KEY, images_of(1, 2, 3, 4))
    launched(engine, 2)
    engine.launched[0].done.set()
    engine.launched[1].done.set()
    launched(engine, 3)
    engine.launched[2].done.set()
    assert firsts_of(halved.result(DEADLINE).outputs) == [1, 2, 3, 4]
    assert running.result(DEADLINE).device_seconds == 0.5
    assert batches(engine) == [[9], [1, 2], [3, 4]]


def test_what_has_to_run_again_keeps_its_place_among_the_outputs(
    engine: Streaming, opened: ExitStack
) -> None:
    loop = loop_over(engine, batch_images=2)
    opened.callback(loop.close)
    future = loop.submit(KEY, images_of(LARGE, 1, 2, 3, 4, 5))
    launched(engine, 2)  # the first has to be halved while the second is under way

    def all_end() -> bool:
        """How many there are depends on whether the rest is taken before the first is halved."""
        for batch in tuple(engine.launched):
            batch.done.set()
        return future.done()

    wait_for(all_end, what="all outputs", deadline_seconds=DEADLINE, every=0.001)
    assert firsts_of(future.result(DEADLINE).outputs) == [LARGE, 1, 2, 3, 4, 5]


def test_closing_waits_for_what_is_under_way(engine: Streaming) -> None:
    loop = loop_over(engine)
    future = loop.submit(KEY, images_of(7))
    launched(engine, 1)
    closing = threading.Thread(target=loop.close)
    closing.start()
    assert not engine.closed
    engine.launched[0].done.set()
    closing.join(DEADLINE)
    assert firsts_of(future.result(DEADLINE).outputs) == [7]
    assert engine.closed


def test_engines_of_both_kinds_take_turns(engine: Streaming, opened: ExitStack) -> None:
    plain, other = FakeEngine(), ModelKey.of(pipeline(precision="bfloat16"), "classes")
    loaded = {KEY: LoadedModel(engine), other: LoadedModel(plain)}
    loop = loop_over(loaded.__getitem__)
    opened.callback(loop.close)
    streamed = loop.submit(KEY, images_of(1))
    launched(engine, 1)
    answer = loop.submit(other, images_of(2)).result(DEADLINE)
    assert firsts_of(answer.outputs) == [2]
    assert not streamed.done()
    engine.launched[0].done.set()
    assert firsts_of(streamed.result(DEADLINE).outputs) == [1]
