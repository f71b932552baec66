"""A batch on a CPU: each image gets its own answer, whichever group of cores computes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests.support.fake_engine import images_of
from workers.inference.engines import core_pool as pool_module
from workers.inference.engines.core_pool import (
    SLICE_IMAGES,
    Arrays,
    CorePool,
    Images,
    groups_and_threads,
)


class Recorder:
    """What the groups ran; each answers with each image's first value, and its double."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.threads: set[str] = set()

    def __call__(self, images: Images) -> Arrays:
        self.sizes.append(len(images))
        self.threads.add(threading.current_thread().name)
        firsts = np.array([[image.flat[0]] for image in images], np.float32)
        return firsts, 2 * firsts


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(params=[1, 2, 5])
def pool(request: pytest.FixtureRequest, recorder: Recorder) -> Iterator[CorePool]:
    pool = CorePool([recorder] * request.param)
    yield pool
    pool.close()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9, 64])
def test_answers_are_in_the_images_order(pool: CorePool, recorder: Recorder, count: int) -> None:
    firsts, doubles = pool.run(images_of(*range(count)))
    assert firsts[:, 0].tolist() == list(range(count))
    assert np.array_equal(doubles, 2 * firsts)
    assert sum(recorder.sizes) == count
    assert max(recorder.sizes) <= SLICE_IMAGES


def test_the_very_first_slice_runs_alone(recorder: Recorder) -> None:
    one, ran_alone = threading.Lock(), []

    def lonely(images: Images) -> Arrays:
        alone = one.acquire(blocking=False)
        ran_alone.append(alone)
        time.sleep(0.2 if len(ran_alone) == 1 else 0)  # for others to come meanwhile
        if alone:
            one.release()
        return recorder(images)

    pool = CorePool([lonely] * 2)
    pool.run(images_of(*range(SLICE_IMAGES * 2)))
    pool.close()
    assert ran_alone == [True, True]


def test_few_images_are_shared_out(recorder: Recorder) -> None:
    both = threading.Barrier(2)

    def meeting(images: Images) -> Arrays:
        if len(recorder.sizes):  # the very first is alone
            both.wait(10)  # which two groups at once can pass, and one alone cannot
        return recorder(images)

    pool = CorePool([meeting] * 2)
    pool.run(images_of(0))
    pool.run(images_of(1, 2, 3))
    pool.close()
    assert sorted(recorder.sizes) == [1, 1, 2]
    assert len(recorder.threads - {threading.current_thread().name}) == 2


def test_an_error_is_raised_once_no_lane_reads_any_more(recorder: Recorder) -> None:
    failed, reading = threading.Event(), []

    def failing(images: Images) -> Arrays:
        if not recorder.sizes:  # the very first is alone
            return recorder(images)
        failed.set()
        raise MemoryError

    def slow(images: Images) -> Arrays:
        assert failed.wait(10)
        answers = recorder(images)
        reading.append(len(images))
        return answers

    pool = CorePool([failing, slow])
    pool.run(images_of(0))
    with pytest.raises(MemoryError):
        pool.run(images_of(*range(64)))
    assert sum(reading) == 64 - SLICE_IMAGES
    pool.close()


@pytest.mark.parametrize(
    ("cores", "expected"), [(1, (1, 1)), (2, (2, 1)), (16, (16, 1)), (24, (16, 1)), (64, (16, 4))]
)
def test_groups_have_the_cores_between_them(
    monkeypatch: pytest.MonkeyPatch, cores: int, expected: tuple[int, int]
) -> None:
    monkeypatch.setattr(pool_module, "cores", lambda: cores)
    assert groups_and_threads() == expected
