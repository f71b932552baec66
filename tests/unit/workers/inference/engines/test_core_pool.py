"""Lanes: every image gets its own answer, whichever lane computes it, and none is left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from tests.support.fake_engine import images_of
from workers.inference.engines import lanes as lanes_module
from workers.inference.engines.lanes import SLICE_IMAGES, Images, Lanes, lanes_and_threads

Scores = npt.NDArray[np.float32]


class Recorder:
    """What its lanes ran; a lane answers with each image's first value."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.threads: set[str] = set()

    def __call__(self, images: Images) -> Scores:
        self.sizes.append(len(images))
        self.threads.add(threading.current_thread().name)
        return np.array([[image.flat[0]] for image in images], np.float32)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(params=[1, 2, 5])
def lanes(request: pytest.FixtureRequest, recorder: Recorder) -> Iterator[Lanes]:
    lanes = Lanes([recorder] * request.param)
    yield lanes
    lanes.close()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9, 64])
def test_answers_are_in_the_images_order(lanes: Lanes, recorder: Recorder, count: int) -> None:
    answers = np.asarray(lanes.run(images_of(*range(count))))
    assert answers[:, 0].tolist() == list(range(count))
    assert sum(recorder.sizes) == count
    assert max(recorder.sizes) <= SLICE_IMAGES


def test_the_very_first_slice_runs_alone(recorder: Recorder) -> None:
    one, ran_alone = threading.Lock(), []

    def lonely(images: Images) -> Scores:
        alone = one.acquire(blocking=False)
        ran_alone.append(alone)
        time.sleep(0.2 if len(ran_alone) == 1 else 0)  # for others to come meanwhile
        if alone:
            one.release()
        return recorder(images)

    lanes = Lanes([lonely] * 2)
    lanes.run(images_of(*range(SLICE_IMAGES * 2)))
    lanes.close()
    assert ran_alone == [True, True]


def test_few_images_are_shared_out(recorder: Recorder) -> None:
    both = threading.Barrier(2)

    def meeting(images: Images) -> Scores:
        if len(recorder.sizes):  # the very first is alone
            both.wait(10)  # which two lanes at once can pass, and one alone cannot
        return recorder(images)

    lanes = Lanes([meeting] * 2)
    lanes.run(images_of(0))
    lanes.run(images_of(1, 2, 3))
    lanes.close()
    assert sorted(recorder.sizes) == [1, 1, 2]
    assert len(recorder.threads - {threading.current_thread().name}) == 2


def test_an_error_is_raised_once_no_lane_reads_any_more(recorder: Recorder) -> None:
    failed, reading = threading.Event(), []

    def failing(images: Images) -> Scores:
        if not recorder.sizes:  # the very first is alone
            return recorder(images)
        failed.set()
        raise MemoryError

    def slow(images: Images) -> Scores:
        assert failed.wait(10)
        answers = recorder(images)
        reading.append(len(images))
        return answers

    lanes = Lanes([failing, slow])
    lanes.run(images_of(0))
    with pytest.raises(MemoryError):
        lanes.run(images_of(*range(64)))
    assert sum(reading) == 64 - SLICE_IMAGES
    lanes.close()


@pytest.mark.parametrize(
    ("cores", "expected"), [(1, (1, 1)), (2, (2, 1)), (16, (16, 1)), (24, (16, 1)), (64, (16, 4))]
)
def test_lanes_have_the_cores_between_them(
    monkeypatch: pytest.MonkeyPatch, cores: int, expected: tuple[int, int]
) -> None:
    monkeypatch.setattr(lanes_module, "cores", lambda: cores)
    assert lanes_and_threads() == expected
