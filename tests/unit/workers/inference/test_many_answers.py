"""Several analyses of one image: what is run, when, and which images fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from shared.errors import ItemErrorCode
from shared.item import ItemFailure
from shared.job import EngineChoice
from shared.limits import MAX_CHUNK_ITEMS
from shared.model import Precision
from shared.pipeline import Pipeline
from shared.staging.pixel_layout import PixelLayout
from tests.support.fake_engine import POISON, FakeEngine, loop_over
from tests.support.many_answers import (
    CLASS,
    MANY,
    MIXED,
    OWN,
    SQUARE,
    WIDE,
    Engines,
    OwnEngine,
)
from tests.support.samples import long_pipeline
from tests.support.staged_batches import pixels_of
from tests.support.waiting import wait_for
from workers.inference.analyst import DeviceAnalyst, Request
from workers.inference.answering import Answers
from workers.inference.device import DeviceLoop
from workers.inference.engines import Images, Outputs
from workers.inference.errors import ClassUnusable, HostDied, ModelUnusable
from workers.inference.model_types import AboutImage, LoadedModel, ModelKey
from workers.inference.suspects import SuspectAnalyst
from workers.suspects import MAX_LOST_RUNS

SIZE = 40, 30


def as_chosen(_: str, choice: EngineChoice) -> Precision | None:
    return choice.precision


def request_of(pipeline: Pipeline, *firsts: int, **changes: Any) -> Request:
    layout, pixels = PixelLayout(pipeline.staged_views, len(firsts)), pixels_of(pipeline, *firsts)
    given = {
        "views": [layout.array(pixels, n) for n in range(len(pipeline.staged_views))],
        "sizes": [SIZE] * len(firsts),
        "keys": [f"{n}.jpg" for n in range(len(firsts))] if pipeline.has_class else [],
        "settle": as_chosen,
        **changes,
    }
    return Request(pipeline=pipeline, job="job", name="1", **given)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def device_over(opened: ExitStack, engines: Any, **options: int) -> DeviceLoop:
    device = loop_over(engines, **options)
    opened.callback(device.close)
    return device


def analyst_over(opened: ExitStack, engines: Any) -> DeviceAnalyst:
    return DeviceAnalyst(device_over(opened, engines), threading.Event())


def best(found: Answers, name: str) -> list[str | None]:
    """The likeliest class of each image."""
    answers = found.columns[name].to_pylist()
    return [answer and answer["predictions"][0]["label"] for answer in answers]


def test_equal_analyses_share_a_run_and_all_are_answered(opened: ExitStack) -> None:
    engines = Engines()
    found = analyst_over(opened, engines).answer(request_of(MANY, 3, 4))
    assert engines.batches == {
        ("tiny", 4): [[3, 4]],
        ("tiny", 8): [[3, 4]],
        ("second", 4): [[3, 4]],
    }
    assert len(found.runs) == 3
    assert best(found, "kinds") == best(found, "others") == ["3", "4"]
    assert found.columns["style"].to_pylist() == [[3, 1], [4, 1]]
    assert found.columns["whole"].to_pylist()[1] == pytest.approx([4 / 17**0.5, 1 / 17**0.5])
    assert found.failures == {}
    assert found.engines.keys() == MANY.analyses.keys()


def test_analyses_in_two_precisions_have_a_run_each(opened: ExitStack) -> None:
    def settle(name: str, _: EngineChoice) -> Precision:
        return "bfloat16" if name == "style" else "float32"

    engines = Engines()
    analyst_over(opened, engines).answer(request_of(MANY, 3, settle=settle))
    assert engines.batches[("tiny", 4)] == [[3], [3]]


def test_every_analysis_is_settled_before_anything_is_computed(opened: ExitStack) -> None:
    engines, asked = Engines(), list[str]()

    def settle(name: str, choice: EngineChoice) -> Precision | None:
        assert engines.batches == {}
        asked.append(name)
        return choice.precision

    analyst_over(opened, engines).answer(request_of(MIXED, 3, settle=settle))
    assert asked == list(MANY.analyses)
    assert ("own", 8) in engines.batches


def test_a_class_does_not_run_before_the_networks_can(opened: ExitStack) -> None:
    engines = Engines()

    def load(key: ModelKey) -> LoadedModel:
        if key.model.name == "second":
            raise ModelUnusable("There are no weights.")
        return engines(key)

    with pytest.raises(ModelUnusable) as caught:
        analyst_over(opened, load).answer(request_of(MIXED, 3))
    assert caught.value.analyses == ("others",)
    assert engines.batches == {}


def test_all_runs_are_submitted_before_any_is_waited_for(opened: ExitStack) -> None:
    engine = FakeEngine()
    device = device_over(opened, Engines(tiny=engine, second=engine))
    submit, submitted = device.submit, list[object]()

    def noting(*given: Any, **options: Any) -> Future[Any]:
        future = submit(*given, **options)
        submitted.append(future)
        return future

    device.submit = noting  # type: ignore[method-assign]
    engine.gate.clear()
    with ThreadPoolExecutor() as threads:
        answer = DeviceAnalyst(device, threading.Event()).answer
        found = threads.submit(answer, request_of(MANY, 3))
        try:
            wait_for(lambda: len(submitted) == 3, what="three submissions", deadline_seconds=20)
            assert not found.done()
        finally:
            engine.gate.set()
        assert best(found.result(20), "others") == ["3"]


def test_the_pixels_are_kept_until_the_last_run_is_done_though_another_failed(
    opened: ExitStack,
) -> None:
    engine = FakeEngine()
    engines = Engines(tiny=engine, second=engine)

    def load(key: ModelKey) -> LoadedModel:
        if key.model.python_class is not None:
            raise ClassUnusable("'own:Own' cannot be constructed.")
        return engines(key)

    analyst = analyst_over(opened, load)
    engine.gate.clear()
    with ThreadPoolExecutor() as threads:
        found = threads.submit(analyst.answer, request_of(MIXED, 3))
        try:
            assert engine.running.wait(20)
            assert not found.done()
        finally:
            engine.gate.set()
        with pytest.raises(ClassUnusable):
            found.result(20)
    assert len(engine.batches) == 3


class Refusing(FakeEngine):
    """Raises on images of 7, and gives NaN for images of 8."""

    def run(self, images: Images) -> Outputs:
        firsts = [int(image.flat[0]) for image in images]
        if 7 in firsts:
            raise ValueError("seven")
        scores, features = super().run(images)
        scores[[first == 8 for first in firsts]] = float("nan")
        return scores, features


def test_an_image_that_fails_in_one_analysis_fails_and_says_where(opened: ExitStack) -> None:
    engines = Engines(second=Refusing())
    found = analyst_over(opened, engines).answer(request_of(MANY, 3, 7, 8, POISON))
    assert {row: failure.error_message for row, failure in found.failures.items()} == {
        1: "others: ValueError: seven",
        2: "others: The model gave an unusable output: score is NaN, of class 0.",
        3: "kinds: ValueError: poisoned image",
    }
    assert best(found, "kinds") == ["3", "7", "8", None]
    assert best(found, "others") == ["3", None, None, None]
    assert found.engines.keys() == MANY.analyses.keys()


def test_a_class_learns_of_each_image_what_it_may_ask(opened: ExitStack) -> None:
    asked: list[list[AboutImage]] = []
    device = device_over(opened, Engines())
    submit = device.submit

    def noting(key: ModelKey, images: Images, **options: Any) -> Future[Any]:
        about = options["about"]
        assert (about is None) == (key.model.python_class is None)
        if about is not None:
            asked.append(about)
        return submit(key, images, **options)

    device.submit = noting  # type: ignore[method-assign]
    request = request_of(MIXED, 3, POISON, sizes=[SIZE, (10, 20)])
    DeviceAnalyst(device, threading.Event()).answer(request)
    first = AboutImage("0.jpg", 40, 30, WIDE.place((40, 30)))
    second = AboutImage("1.jpg", 10, 20, WIDE.place((10, 20)))
    assert asked == [[first, second], [first], [second]]
    assert MIXED.staged_views == (WIDE, SQUARE)


class Child:
    """Answers for networks as a child does; the image of number 1 kills it."""

    def __init__(self, here: DeviceAnalyst) -> None:
        self._here = here
        self.asked: list[set[str]] = []

    def answer(self, request: Request) -> Answers:
        self.asked.append(set(request.analyses or ()))
        found = self._here.answer(replace(request, note=None))
        found.failures[1] = ItemFailure.of(ItemErrorCode.KILLED_WORKER, "It did.")
        return found


def test_of_a_suspect_batch_networks_run_in_the_child_and_then_classes_alone(
    opened: ExitStack,
) -> None:
    engines, noted = Engines(), list[int | None]()

    def note(item: int | None) -> int:
        noted.append(item)
        return 0

    here = analyst_over(opened, engines)
    child = Child(here)
    found = SuspectAnalyst(child, here).answer(request_of(MIXED, 3, 4, 5, note=note))
    assert child.asked == [MANY.analyses.keys()]
    assert engines.batches[("own", 8)] == [[3], [5]]  # not the killer
    assert noted == [MAX_CHUNK_ITEMS, MAX_CHUNK_ITEMS + 2, None]
    assert {row: each.error_message for row, each in found.failures.items()} == {1: "It did."}
    assert best(found, "own") == ["3", None, "5"]
    assert found.columns.keys() == found.engines.keys() == MIXED.analyses.keys()


def test_a_class_that_kills_is_known_though_another_runs_well_on_its_images(
    opened: ExitStack,
) -> None:
    class Deadly(OwnEngine):
        def run(self, images: Images) -> Outputs:
            raise HostDied("exit status 1")

    other = OWN.model_copy(update={"name": "good", "sha256": "d" * 64, "python_class": "own:Good"})
    both = {"own": CLASS["own"], "good": CLASS["own"].model_copy(update={"model": "good"})}
    pipeline = long_pipeline(both, (OWN, other))
    analyst = analyst_over(opened, Engines(own=Deadly()))
    with pytest.raises(ClassUnusable, match="'own:Own' ended its process over 5 images"):
        analyst.answer(request_of(pipeline, *range(6), note=lambda _: 0))


class NotingChild:
    """Answers for networks as a child does, with a note of each image that it tries."""

    def __init__(self, here: DeviceAnalyst) -> None:
        self._here = here

    def answer(self, request: Request) -> Answers:
        assert request.note is not None
        killers = [n for n in range(len(request.sizes)) if request.note(n) >= MAX_LOST_RUNS]
        found = self._here.answer(replace(request, note=None))
        failure = ItemFailure.of(ItemErrorCode.KILLED_WORKER, "It did.")
        found.failures.update(dict.fromkeys(killers, failure))
        return found


@pytest.mark.parametrize("with_networks", [MAX_LOST_RUNS - 1, MAX_LOST_RUNS])
@pytest.mark.parametrize("with_classes", [0, MAX_LOST_RUNS])
def test_what_an_image_cost_with_networks_and_with_classes_is_counted_apart(
    opened: ExitStack, with_networks: int, with_classes: int
) -> None:
    lost = {0: with_networks, MAX_CHUNK_ITEMS: with_classes}

    def note(item: int | None) -> int:
        return 0 if item is None else lost[item]

    here = analyst_over(opened, Engines())
    analyst, request = SuspectAnalyst(NotingChild(here), here), request_of(MIXED, 3, note=note)
    if with_networks < MAX_LOST_RUNS <= with_classes:
        with pytest.raises(ClassUnusable, match="died 5 times while 'own:Own' ran one image"):
            analyst.answer(request)
    else:
        found = analyst.answer(request)
        assert bool(found.failures) == (with_networks == MAX_LOST_RUNS)
