"""A user's class on the device loop: its images are its own, and its end is not the worker's."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from shared.errors import TransientError
from shared.item import ItemFailure
from tests.support.fake_engine import images_of
from tests.support.hosted_class import hosted
from tests.support.samples import class_model, pipeline
from workers.inference.alone import MAX_KILLERS_IN_A_ROW, Alone
from workers.inference.device import DeviceLoop
from workers.inference.engines import HostedEngine
from workers.inference.errors import (
    ClassUnusable,
    EngineError,
    HostDied,
    HostNotStarted,
    Miscounted,
)
from workers.inference.model_types import LoadedModel, ModelKey
from workers.inference.models import LoadedModels
from workers.inference.submission import InferenceResult

DEADLINE = 60
NAMES = itertools.count()

SOURCE = """
import os, signal, threading, time

class Own:
    \"\"\"Gives each image's first value, and does what some values ask for.\"\"\"

    room = 100

    def __init__(self):
        self.kept = []

    def __call__(self, images):
        firsts = [int(image.flat[0]) for image in images]
        images[:] = 255
        if len(images) > self.room:
            raise MemoryError
        if 200 in firsts:
            os.kill(os.getpid(), signal.SIGKILL)
        if 201 in firsts:
            time.sleep(600)
        if 202 in firsts:
            raise ValueError("no")
        if 203 in firsts:
            threading.Timer(0.05, lambda: os._exit(1)).start()
        if 204 in firsts:
            print("a word")
        self.kept.append(images)
        return firsts


class Small(Own):
    \"\"\"Has memory for three images, and learns it when it has changed them.\"\"\"

    room = 3


class Short(Own):
    \"\"\"Leaves the last output out.\"\"\"

    def __call__(self, images):
        return super().__call__(images)[:-1]


class Forgetful(Own):
    \"\"\"Ends its process over every third image.\"\"\"

    def __call__(self, images):
        if len(self.kept) == 2:
            os._exit(1)
        return super().__call__(images)
"""


def key_of(**changes: Any) -> ModelKey:
    return ModelKey.of(pipeline(model=class_model("own:Own"), **changes), "classes")


KEY = key_of()


class Loads:
    """Loads the class, and counts how often."""

    def __init__(self, name: str) -> None:
        self.name, self.count = name, 0

    def __call__(self, key: ModelKey) -> LoadedModel:
        self.count += 1
        return LoadedModel(hosted(SOURCE, self.name))


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def loop_over(loads: Loads, opened: ExitStack, **options: Any) -> DeviceLoop:
    loop = DeviceLoop(LoadedModels(loads), **options)
    opened.callback(loop.close)
    return loop


def run(alone: Alone, first: int, key: ModelKey = KEY) -> InferenceResult | ItemFailure:
    """One more image of a job, with that value."""
    return alone.run(key, images_of(first), "job", str(next(NAMES)))


@pytest.mark.parametrize(
    ("in_batch", "said"),
    [
        (
            Miscounted("the class gave 23 outputs for 24 images"),
            "the class gave 23 outputs for 24 images; for this image alone, "
            "the class gave 0 outputs for 1 image",
        ),
        (EngineError("own.py:1: ValueError: no"), "the class gave 0 outputs for 1 image"),
        (None, "the class gave 0 outputs for 1 image"),
    ],
)
def test_a_wrong_count_is_told_as_it_was_in_the_batch(
    opened: ExitStack, in_batch: EngineError | None, said: str
) -> None:
    alone = Alone(loop_over(Loads("Short"), opened))
    failure = alone.run(KEY, images_of(1), "job", "1", in_batch=in_batch)
    assert isinstance(failure, ItemFailure)
    assert failure.error_message == said


def outputs(answer: object) -> list[int] | str:
    """What a class gave, or the code of the failure."""
    if isinstance(answer, InferenceResult):
        return list(answer.outputs)
    return str(answer.error_code.value)  # type: ignore[attr-defined]


@pytest.mark.parametrize("batch_images", [2, 7, 64])
def test_what_a_class_does_to_its_images_reaches_nobody(
    opened: ExitStack, batch_images: int
) -> None:
    loop = loop_over(
        Loads("Own"), opened, batch_images=batch_images, submitters=2, max_wait_seconds=0.1
    )
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


@pytest.mark.parametrize("batch_images", [4, 16, 64])
def test_a_batch_too_large_for_a_class_is_halved_and_keeps_its_order(
    opened: ExitStack, batch_images: int
) -> None:
    loop = loop_over(Loads("Small"), opened, batch_images=batch_images)
    futures = [loop.submit(KEY, images_of(*range(n, n + 16))) for n in (0, 16, 32)]
    found = [list(future.result(DEADLINE).outputs) for future in futures]
    assert found == [list(range(n, n + 16)) for n in (0, 16, 32)]


def test_what_waits_behind_the_end_of_a_host_runs_in_the_next(opened: ExitStack) -> None:
    loads = Loads("Own")
    loop = loop_over(loads, opened, batch_images=2)
    futures = [loop.submit(KEY, images_of(*firsts)) for firsts in ((1, 2), (3, 200), (4, 5, 6, 7))]
    assert list(futures[0].result(DEADLINE).outputs) == [1, 2]
    with pytest.raises(HostDied, match="SIGKILL"):
        futures[1].result(DEADLINE)
    assert list(futures[2].result(DEADLINE).outputs) == [4, 5, 6, 7]
    assert loads.count == 2


def test_closing_runs_what_waits_behind_the_end_of_a_host(opened: ExitStack) -> None:
    loop = DeviceLoop(LoadedModels(Loads("Own")), batch_images=1)
    deadly, behind = loop.submit(KEY, images_of(200)), loop.submit(KEY, images_of(5))
    loop.close()
    assert isinstance(deadly.exception(0), HostDied)
    assert list(behind.result(0).outputs) == [5]


@pytest.mark.parametrize(("deadly", "manner"), [(200, "SIGKILL"), (201, "longer than 0.5 s")])
def test_only_the_image_that_ends_its_process_alone_twice_is_a_killer(
    opened: ExitStack, deadly: int, manner: str
) -> None:
    key, loads = key_of(batch_seconds=0.5), Loads("Own")
    alone = Alone(loop_over(loads, opened))
    answers = [run(alone, first, key) for first in (1, deadly, 2, 202, 3)]
    assert list(map(outputs, answers)) == [[1], "killed_worker", [2], "model_error", [3]]
    assert manner in answers[1].error_message  # type: ignore[union-attr]
    assert loads.count == 3


def test_a_late_end_accuses_no_image_that_came_after(opened: ExitStack) -> None:
    alone = Alone(loop_over(Loads("Own"), opened))
    answers = [run(alone, first) for first in (203, *range(30))]
    assert list(map(outputs, answers)) == [[203], *[[n] for n in range(30)]]


def test_an_image_that_ends_a_worn_process_runs_in_a_fresh_one(opened: ExitStack) -> None:
    loads = Loads("Forgetful")
    alone = Alone(loop_over(loads, opened))
    answers = [run(alone, first) for first in range(6)]
    assert list(map(outputs, answers)) == [[n] for n in range(6)]
    assert loads.count == 3


def test_a_class_over_which_every_process_ends_is_to_blame(opened: ExitStack) -> None:
    alone = Alone(loop_over(Loads("Own"), opened))
    for first in (1, *[200] * (MAX_KILLERS_IN_A_ROW - 1), 2, *[200] * (MAX_KILLERS_IN_A_ROW - 1)):
        run(alone, first)
    with pytest.raises(ClassUnusable, match=r"5 images in a row.*SIGKILL"):
        run(alone, 200)


def test_killers_among_good_batches_accuse_no_class(opened: ExitStack) -> None:
    alone = Alone(loop_over(Loads("Own"), opened))
    for number in range(2 * MAX_KILLERS_IN_A_ROW):
        alone.run(KEY, images_of(200), "job", str(number))
        alone.ran_well(KEY, "job")  # as a batch that the stage ran whole


def test_killers_of_two_jobs_and_one_that_runs_again_are_not_five(opened: ExitStack) -> None:
    alone = Alone(loop_over(Loads("Own"), opened))
    for job in ("one", "other"):
        for _ in range(2):  # a worker that stops runs them again
            for number in range(2):
                alone.run(KEY, images_of(200), job, str(number))
    alone.run(KEY, images_of(200), "one", "2")


def test_outputs_of_several_widths_are_put_together_row_by_row(opened: ExitStack) -> None:
    source = """
    import numpy as np
    class Own:
        def __call__(self, images):
            return np.ones((len(images), int(images.max())))
    """
    loop = DeviceLoop(LoadedModels(lambda _: LoadedModel(hosted(source))), batch_images=2)
    opened.callback(loop.close)
    outputs = loop.submit(KEY, images_of(1, 2, 3, 4)).result(DEADLINE).outputs
    assert [len(row) for row in outputs] == [2, 2, 4, 4]


def test_a_class_that_cannot_be_had_is_told_to_all_that_waits_for_it(opened: ExitStack) -> None:
    gate, loads = threading.Event(), []

    def load(key: ModelKey) -> LoadedModel:
        loads.append(key)
        assert gate.wait(DEADLINE)
        raise ClassUnusable("'own:Own' cannot be constructed: no")

    loop = DeviceLoop(LoadedModels(load))
    opened.callback(loop.close)
    futures = [loop.submit(KEY, images_of(1), job="job", alone=True) for _ in range(3)]
    other = loop.submit(KEY, images_of(1), job="other", alone=True)
    gate.set()
    for future in (*futures, other):
        assert isinstance(future.exception(DEADLINE), ClassUnusable)
    assert len(loads) == 2, "once for each job"


def test_a_machine_without_room_for_a_process_is_waited_for_without_the_others(
    opened: ExitStack,
) -> None:
    engines, short = [], [True]
    other = key_of(preprocess={"resize_shorter_pixels": 3, "crop_pixels": 3})

    def load(key: ModelKey) -> LoadedModel:
        if key == other and short:
            short.clear()
            raise HostNotStarted("No process can be started: Resource temporarily unavailable.")
        engines.append(hosted(SOURCE))
        return LoadedModel(engines[-1])

    loop = DeviceLoop(LoadedModels(load))
    opened.callback(loop.close)
    loop.submit(KEY, images_of(1)).result(DEADLINE)
    assert isinstance(
        loop.submit(other, images_of(1, pixels=3)).exception(DEADLINE), TransientError
    )
    assert engines[0].dead
    assert list(loop.submit(other, images_of(1, pixels=3)).result(DEADLINE).outputs) == [1]


def test_what_a_class_prints_is_logged_with_its_job(
    opened: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "headrace.class")
    loop = loop_over(Loads("Own"), opened)
    loop.submit(KEY, images_of(204), job="first").result(DEADLINE)
    loop.submit(KEY, images_of(1), job="second").result(DEADLINE)
    with pytest.raises(EngineError):
        loop.submit(KEY, images_of(202), job="third").result(DEADLINE)
    loop.close()
    said = [r.getMessage() for r in caplog.records if r.name == "headrace.class"]
    assert said[0] == f"first {KEY.model.name} | a word"
    assert said[1].startswith(f"third {KEY.model.name} | Traceback")
    assert said[-1] == f"third {KEY.model.name} | ValueError: no"


def test_a_class_that_cannot_be_constructed_is_told_with_what_it_printed(
    opened: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "headrace.class")

    def load(key: ModelKey) -> LoadedModel:
        return LoadedModel(hosted("print('begun')\nraise OSError('no')"))

    loop = DeviceLoop(LoadedModels(load))
    opened.callback(loop.close)
    for _ in range(2):
        with pytest.raises(ClassUnusable, match=r"own\.py:2: OSError: no"):
            loop.submit(KEY, images_of(1), job="job").result(DEADLINE)
    assert f"job {KEY.model.name} | begun" in caplog.messages


def test_a_host_that_ends_between_batches_costs_one_batch_its_first_try(
    opened: ExitStack,
) -> None:
    engines: list[HostedEngine] = []

    def load(key: ModelKey) -> LoadedModel:
        engines.append(hosted(SOURCE.replace("return firsts", "return [os.getpid()]")))
        return LoadedModel(engines[-1])

    loop = DeviceLoop(LoadedModels(load))
    opened.callback(loop.close)
    alone = Alone(loop)
    first = run(alone, 1)
    assert isinstance(first, InferenceResult)
    os.kill(first.outputs[0], signal.SIGKILL)
    again = run(alone, 1)
    assert isinstance(again, InferenceResult)
    assert len(engines) == 2


def test_the_pipelines_of_one_class_each_have_their_own_deadline(opened: ExitStack) -> None:
    loop = loop_over(Loads("Own"), opened)
    loop.submit(key_of(batch_seconds=600), images_of(1)).result(DEADLINE)
    with pytest.raises(HostDied, match=r"longer than 0\.5 s"):
        loop.submit(key_of(batch_seconds=0.5), images_of(201)).result(DEADLINE)
