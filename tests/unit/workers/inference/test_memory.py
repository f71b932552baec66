"""A device without memory for a batch: it runs in halves, and no image fails for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import torch

from tests.support.fake_engine import FakeEngine, firsts_of, images_of, loop_over
from tests.support.samples import pipeline
from workers.inference.batch_sizes import GROW_BATCHES
from workers.inference.engines import Images, Outputs
from workers.inference.errors import EngineError, is_out_of_memory
from workers.inference.model_types import ModelKey

KEY = ModelKey.of(pipeline(), "classes")
DEADLINE = 20
HUNGRY = 9


class SmallDevice(FakeEngine):
    """Has memory for ``room`` images at once, and none at all for one that begins with HUNGRY."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.refused: list[int] = []

    def run(self, images: Images) -> Outputs:
        if len(images) > self.room or any(int(image.flat[0]) == HUNGRY for image in images):
            self.refused.append(len(images))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().run(images)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("room", [1, 3, 5, 8])
def test_every_image_gets_its_own_answer_however_small_the_device(
    opened: ExitStack, room: int
) -> None:
    engine = SmallDevice(room)
    loop = loop_over(engine, batch_images=16, submitters=3, max_wait_seconds=0.5)
    opened.callback(loop.close)
    chunks = [images_of(*range(first, first + 7)) for first in (10, 20, 30)]
    futures = [loop.submit(KEY, chunk) for chunk in chunks]
    answers = [firsts_of(future.result(DEADLINE).outputs) for future in futures]
    assert answers == [list(range(first, first + 7)) for first in (10, 20, 30)]
    assert max(map(len, engine.batches)) <= room


def test_the_next_chunks_are_not_tried_too_large_again(opened: ExitStack) -> None:
    engine = SmallDevice(4)
    loop = loop_over(engine, batch_images=16)
    opened.callback(loop.close)
    for _ in range(5):
        loop.submit(KEY, images_of(*range(16, 32))).result(DEADLINE)
    assert engine.refused == [16, 8]
    assert {len(batch) for batch in engine.batches} == {4}


def test_other_models_keep_their_size(opened: ExitStack) -> None:
    engine = SmallDevice(4)
    loop = loop_over(engine, batch_images=16)
    opened.callback(loop.close)
    loop.submit(KEY, images_of(*range(16, 32))).result(DEADLINE)
    engine.room = 16
    other = ModelKey.of(pipeline(precision="bfloat16"), "classes")
    loop.submit(other, images_of(*range(16, 32))).result(DEADLINE)
    assert len(engine.batches[-1]) == 16


def test_the_size_grows_again_when_there_is_memory(opened: ExitStack) -> None:
    engine = SmallDevice(4)
    loop = loop_over(engine, batch_images=16)
    opened.callback(loop.close)
    loop.submit(KEY, images_of(*range(16, 32))).result(DEADLINE)
    engine.room = 16
    while len(engine.batches) < 2 * GROW_BATCHES:
        loop.submit(KEY, images_of(*range(16, 32))).result(DEADLINE)
    loop.submit(KEY, images_of(*range(16, 32))).result(DEADLINE)
    assert len(engine.batches[-1]) == 16
    assert engine.refused == [16, 8]


def test_one_image_that_is_too_large_alone_is_an_error_of_its_chunk(opened: ExitStack) -> None:
    loop = loop_over(SmallDevice(8), batch_images=8)
    opened.callback(loop.close)
    with pytest.raises(EngineError, match="CUDA out of memory"):
        loop.submit(KEY, images_of(1, 2, HUNGRY, 3)).result(DEADLINE)
    outputs = loop.submit(KEY, images_of(1, 2)).result(DEADLINE).outputs
    assert firsts_of(outputs) == [1, 2]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (RuntimeError("BFCArena Failed to allocate memory for requested buffer of size 9"), True),
        (RuntimeError("std::bad_alloc"), True),
        (MemoryError(), True),
        (ValueError("a poisoned image"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (SystemExit(3), False),
    ],
)
def test_what_is_out_of_memory(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
