"""The device loop: joining, splitting, order, errors, and the one thread that owns the device."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

import numpy as np
import pytest

from shared.errors import TransientError
from tests.support.fake_engine import POISON, FakeEngine, firsts_of, images_of, loop_over
from tests.support.samples import pipeline
from workers.inference.device import DeviceLoop
from workers.inference.engines import Images, Outputs
from workers.inference.errors import EngineError, ModelUnusable
from workers.inference.model_types import LoadedModel, ModelKey
from workers.inference.submission import InferenceResult

KEY = ModelKey.of(pipeline(), "classes")
OTHER = ModelKey.of(pipeline(precision="bfloat16"), "classes")
DEADLINE = 20
T = TypeVar("T")


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def firsts(future: Future[InferenceResult]) -> list[int]:
    return firsts_of(future.result(DEADLINE).outputs)


def in_threads(count: int, work: Callable[[int], T]) -> list[T]:
    """What ``work`` gives for each number, in as many threads at once."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def while_busy(
    loop: DeviceLoop, engine: FakeEngine, *waiting: tuple[ModelKey, Images]
) -> list[Future[InferenceResult]]:
    """Submit ``waiting`` while the device is busy with something else; then let it go on."""
    engine.gate.clear()
    busy = loop.submit(KEY, images_of(0))
    assert engine.running.wait(DEADLINE)
    futures = [loop.submit(key, images) for key, images in waiting]
    engine.gate.set()
    busy.result(DEADLINE)
    for future in futures:
        future.exception(DEADLINE)
    return futures


def test_a_chunk_that_fits_is_run_whole_and_uncopied(engine: FakeEngine, opened: ExitStack) -> None:
    loop = loop_over(engine)
    opened.callback(loop.close)
    images = images_of(3, 1, 2)
    assert firsts(loop.submit(KEY, images)) == [3, 1, 2]
    assert np.shares_memory(engine.inputs[0], images)


def test_a_large_chunk_is_split_evenly_without_a_copy(
    engine: FakeEngine, opened: ExitStack
) -> None:
    loop = loop_over(engine, batch_images=4)
    opened.callback(loop.close)
    images = images_of(*range(10))
    assert firsts(loop.submit(KEY, images)) == list(range(10))
    assert [len(batch) for batch in engine.batches] == [4, 3, 3]
    assert all(np.shares_memory(part, images) for part in engine.inputs)


def test_small_chunks_of_one_model_are_joined_up_to_the_batch_size(
    engine: FakeEngine, opened: ExitStack
) -> None:
    loop = loop_over(engine, batch_images=8)
    opened.callback(loop.close)
    small = [images_of(10 * n, 10 * n + 1, 10 * n + 2) for n in range(1, 4)]
    futures = while_busy(loop, engine, *((KEY, images) for images in small))
    assert [firsts(future) for future in futures] == [[10, 11, 12], [20, 21, 22], [30, 31, 32]]
    assert engine.batches == [[0], [10, 11, 12, 20, 21, 22], [30, 31, 32]]


def test_chunks_of_different_models_share_no_batch(opened: ExitStack) -> None:
    engines = {KEY: FakeEngine(), OTHER: FakeEngine()}
    loop = loop_over(lambda key: LoadedModel(engines[key]))
    opened.callback(loop.close)
    waiting = ((OTHER, images_of(1)), (KEY, images_of(2)), (OTHER, images_of(3)))
    futures = while_busy(loop, engines[KEY], *waiting)
    assert [firsts(future) for future in futures] == [[1], [2], [3]]
    assert engines[OTHER].batches == [[1, 3]]
    assert engines[KEY].batches == [[0], [2]]


def test_the_oldest_waits_for_company_and_no_longer(engine: FakeEngine, opened: ExitStack) -> None:
    loop = loop_over(engine, max_wait_seconds=0.2, submitters=3)
    opened.callback(loop.close)
    started = time.monotonic()
    alone = loop.submit(KEY, images_of(1)).result(DEADLINE)
    assert time.monotonic() - started > 0.19
    assert alone.wait_seconds > 0.19


@pytest.mark.parametrize("chunks", [1, 2])
def test_nobody_waits_once_all_submitters_are_here(
    engine: FakeEngine, opened: ExitStack, chunks: int
) -> None:
    loop = loop_over(engine, max_wait_seconds=60, submitters=chunks)
    opened.callback(loop.close)
    answers = in_threads(chunks, lambda n: firsts(loop.submit(KEY, images_of(n))))
    assert answers == [[n] for n in range(chunks)]
    assert len(engine.batches) == 1


def test_a_chunk_that_needs_several_models_counts_once(opened: ExitStack) -> None:
    """Its first model's batch waits for the other chunk, and so does not run alone."""
    engines = {KEY: FakeEngine(), OTHER: FakeEngine()}
    loop = loop_over(lambda key: LoadedModel(engines[key]), max_wait_seconds=60, submitters=2)
    opened.callback(loop.close)
    all_submitted = threading.Barrier(2)

    def work(number: int) -> list[list[int]]:
        if number:  # the other chunk comes once this one's have had time to run
            all_submitted.wait(DEADLINE)
            assert not any(engine.running.wait(0.05) for engine in engines.values())
        futures = [loop.submit(key, images_of(number)) for key in (KEY, OTHER)]
        if not number:
            all_submitted.wait(DEADLINE)
        return [firsts(future) for future in futures]

    assert in_threads(2, work) == [[[0], [0]], [[1], [1]]]
    assert [engine.batches for engine in engines.values()] == [[[0, 1]], [[0, 1]]]


def test_a_full_batch_does_not_wait(engine: FakeEngine, opened: ExitStack) -> None:
    loop = loop_over(engine, batch_images=2, max_wait_seconds=60, submitters=3)
    opened.callback(loop.close)
    assert firsts(loop.submit(KEY, images_of(1, 2))) == [1, 2]


def test_an_error_reaches_exactly_the_chunks_of_its_batch(
    engine: FakeEngine, opened: ExitStack
) -> None:
    loop = loop_over(engine, batch_images=2)
    opened.callback(loop.close)
    waiting = ((KEY, images_of(1)), (KEY, images_of(POISON)), (KEY, images_of(2, 3)))
    joined, poisoned, other = while_busy(loop, engine, *waiting)
    for future in (joined, poisoned):
        with pytest.raises(EngineError, match=r"^ValueError: poisoned image$"):
            future.result(DEADLINE)
    assert firsts(other) == [2, 3]


def test_the_rest_of_a_split_chunk_is_not_run_after_an_error(
    engine: FakeEngine, opened: ExitStack
) -> None:
    loop = loop_over(engine, batch_images=2)
    opened.callback(loop.close)
    with pytest.raises(EngineError):
        loop.submit(KEY, images_of(1, POISON, 2, 3)).result(DEADLINE)
    assert firsts(loop.submit(KEY, images_of(4))) == [4]
    assert engine.batches == [[1, POISON], [4]]


def test_alone_means_alone(engine: FakeEngine, opened: ExitStack) -> None:
    loop = loop_over(engine, max_wait_seconds=60, submitters=9)
    opened.callback(loop.close)
    futures = [loop.submit(KEY, images_of(n), alone=True) for n in range(3)]
    assert [firsts(future) for future in futures] == [[0], [1], [2]]
    assert engine.batches == [[0], [1], [2]]


@pytest.mark.parametrize("raised", [SystemExit(3), MemoryError(), KeyboardInterrupt()])
def test_whatever_is_raised_the_device_thread_lives(
    raised: BaseException, opened: ExitStack
) -> None:
    class Raising(FakeEngine):
        def run(self, images: Images) -> Outputs:
            if int(images.flat[0]):
                raise raised
            return super().run(images)

    loop = loop_over(Raising())
    opened.callback(loop.close)
    with pytest.raises(EngineError, match=type(raised).__name__):
        loop.submit(KEY, images_of(1)).result(DEADLINE)
    assert firsts(loop.submit(KEY, images_of(0))) == [0]


def test_shared_device_seconds_are_split_by_images(opened: ExitStack) -> None:
    class Slow(FakeEngine):
        def run(self, images: Images) -> Outputs:
            outputs = super().run(images)
            threading.Event().wait(0.1)
            return outputs

    engine = Slow()
    loop = loop_over(engine)
    opened.callback(loop.close)
    small, large = while_busy(loop, engine, (KEY, images_of(1)), (KEY, images_of(1, 2, 3)))
    one, three = small.result(), large.result()
    assert three.device_seconds == pytest.approx(3 * one.device_seconds)
    assert one.device_seconds + three.device_seconds > 0.09
    assert one.started_at < one.ended_at <= time.time()


def test_everything_touches_the_engine_in_one_thread(engine: FakeEngine, opened: ExitStack) -> None:
    loop = loop_over(engine, max_wait_seconds=0.001, submitters=4)
    answers: dict[int, list[int]] = {}

    def work(number: int) -> None:
        for turn in range(20):
            value = (number * 20 + turn) % POISON
            answers[number * 20 + turn] = firsts(loop.submit(KEY, images_of(value, 7)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    loop.close()
    assert answers == {n: [n % POISON, 7] for n in range(80)}
    assert engine.threads == {"device"}
    assert engine.closed


def test_a_closed_loop_takes_nothing(engine: FakeEngine) -> None:
    loop = loop_over(engine)
    loop.close()
    with pytest.raises(TransientError):
        loop.submit(KEY, images_of(1))


def test_load_errors_reach_the_chunks_as_they_are(opened: ExitStack) -> None:
    answers = iter([TransientError("store_unavailable", "No answer."), ModelUnusable("No.", "Do.")])

    def load(key: ModelKey) -> LoadedModel:
        raise next(answers)

    loop = loop_over(load)
    opened.callback(loop.close)
    with pytest.raises(TransientError, match="No answer"):
        loop.submit(KEY, images_of(1)).result(DEADLINE)
    for _ in range(2):  # the second time without asking again: ``load`` has no third answer
        with pytest.raises(ModelUnusable, match=r"No\. Do\."):
            loop.submit(KEY, images_of(1)).result(DEADLINE)
