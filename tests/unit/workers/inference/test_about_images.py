"""What a user's class may ask about its images reaches it beside them, however they are batched."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from shared.placement import Placement
from tests.support.fake_engine import FakeEngine, firsts_of, images_of, loop_over, outputs_of
from tests.support.samples import pipeline
from workers.inference.engines import DeviceRun, HostedEngine, Images
from workers.inference.errors import NotBegun
from workers.inference.model_types import AboutImage, LoadedModel, ModelKey

KEY = ModelKey.of(pipeline(), "classes")
DEADLINE = 20


def about(*numbers: int) -> list[AboutImage]:
    """Of images that begin with these values."""
    size = (40, 30)
    return [AboutImage(f"{n}.jpg", *size, Placement(size, (0, 0), size)) for n in numbers]


@dataclass
class Ran:
    """A batch that is done, or that never began."""

    firsts: list[int]
    begins: bool

    def wait(self) -> DeviceRun:
        if not self.begins:
            raise NotBegun
        return DeviceRun(outputs_of(self.firsts), 0.5, time.time())


class Hosted(FakeEngine):
    """Notes each batch with what it is told about the images. ``room``: the most it takes.

    ``lost``: how many batches never begin.
    """

    dead = False

    def __init__(self, room: int = 100, lost: int = 0) -> None:
        super().__init__()
        self.told: list[tuple[list[int], Sequence[AboutImage] | None]] = []
        self._room, self._lost = room, lost

    def launch(
        self,
        pieces: Sequence[Images],
        seconds: float = math.inf,
        about: Sequence[AboutImage] | None = None,
    ) -> Ran:
        firsts = [int(image.flat[0]) for piece in pieces for image in piece]
        if len(firsts) > self._room:
            raise MemoryError
        self.told.append((firsts, about))
        self._lost -= 1
        return Ran(firsts, begins=self._lost < 0)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize(
    "engine", [Hosted(), Hosted(room=3), Hosted(room=1), Hosted(lost=2)], ids=["", "3", "1", "lost"]
)
@pytest.mark.parametrize("batch_images", [2, 3, 100])
def test_each_image_keeps_what_is_known_about_it(
    opened: ExitStack, engine: Hosted, batch_images: int
) -> None:
    assert isinstance(engine, HostedEngine)
    engine.told.clear()
    loop = loop_over(
        lambda _: LoadedModel(engine),
        batch_images=batch_images,
        max_wait_seconds=0.05,
        submitters=2,
    )
    opened.callback(loop.close)
    chunks = [range(1, 8), range(10, 14)]
    futures = [loop.submit(KEY, images_of(*chunk), about=about(*chunk)) for chunk in chunks]
    answers = [firsts_of(future.result(DEADLINE).outputs) for future in futures]
    assert answers == [list(chunk) for chunk in chunks]
    assert engine.told
    assert all(told == about(*firsts) for firsts, told in engine.told)


def test_nothing_is_told_where_nothing_is_known(opened: ExitStack) -> None:
    engine = Hosted()
    loop = loop_over(lambda _: LoadedModel(engine), batch_images=2)
    opened.callback(loop.close)
    loop.submit(KEY, images_of(1, 2, 3)).result(DEADLINE)
    assert engine.told == [([1, 2], None), ([3], None)]
