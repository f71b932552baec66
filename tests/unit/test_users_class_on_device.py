"""A user's class on the device loop: its images are its own, and copied while the device works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from shared.pipeline import Model
from tests.fake_engine import images_of
from tests.samples import pipeline
from workers.inference.device import DeviceLoop
from workers.inference.engines import Images, KeepingEngine
from workers.inference.engines.python_engine import PythonEngine
from workers.inference.models import LoadedModel, LoadedModels, ModelKey

MODEL = Model(name="own", sha256="a" * 64, python_class="own:Own", code_sha256="b" * 64)
KEY = ModelKey.of(pipeline(model=MODEL))
DEADLINE = 20


class Changing:
    """Gives each image's first value, keeps the images, and writes over them."""

    room = 100

    def __init__(self) -> None:
        self.kept: list[Images] = []

    def __call__(self, images: Images) -> list[int]:
        firsts = [int(image.flat[0]) for image in images]
        images[:] = 255
        if len(images) > self.room:
            raise MemoryError
        self.kept.append(images)
        return firsts


class Small(Changing):
    """Has memory for three images, and learns it when it has changed them."""

    room = 3


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def loop_over(engine: PythonEngine, opened: ExitStack, **options: Any) -> DeviceLoop:
    loop = DeviceLoop(LoadedModels(lambda _: LoadedModel(engine)), **options)
    opened.callback(loop.close)
    return loop


def test_only_a_users_class_needs_images_of_its_own() -> None:
    assert isinstance(PythonEngine(Changing), KeepingEngine)


@pytest.mark.parametrize("batch_images", [2, 7, 64])
def test_what_a_class_does_to_its_images_reaches_nobody(
    opened: ExitStack, batch_images: int
) -> None:
    engine = PythonEngine(Changing)
    loop = loop_over(engine, opened, batch_images=batch_images, submitters=2, max_wait_seconds=0.1)
    chunks = [images_of(*range(7)), images_of(*range(10, 17))]
    for _ in range(2):
        futures = [loop.submit(KEY, chunk) for chunk in chunks]
        assert [list(f.result(DEADLINE).outputs) for f in futures] == [
            list(range(7)),
            list(range(10, 17)),
        ]
    assert [int(image.flat[0]) for chunk in chunks for image in chunk] == [
        *range(7),
        *range(10, 17),
    ]
    kept = engine._instance.kept
    assert not any(np.shares_memory(images, chunk) for images in kept for chunk in chunks)


def test_images_that_a_class_changed_before_its_memory_ended_are_as_they_were(
    opened: ExitStack,
) -> None:
    loop = loop_over(PythonEngine(Small), opened)
    outputs = loop.submit(KEY, images_of(*range(16))).result(DEADLINE).outputs
    assert list(outputs) == list(range(16))
