"""Preparing a model: it is loaded in its turn, once for all who wait, and kept as chosen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace

import pytest

from shared.errors import TransientError
from tests.support.fake_engine import FakeEngine, firsts_of, images_of, loop_over
from tests.support.samples import pipeline
from workers.inference.errors import HostUnable, ModelUnusable
from workers.inference.model_types import LoadedModel, ModelKey
from workers.inference.submission import InferenceResult

KEY = ModelKey.of(pipeline(), "classes")
OTHER = ModelKey.of(pipeline(precision="bfloat16"), "classes")
DEADLINE = 20
# Beside a model of so many bytes no other stays loaded.
HUGE = 2**60


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def firsts(future: Future[InferenceResult]) -> list[int]:
    return firsts_of(future.result(DEADLINE).outputs)


def test_a_model_is_prepared_once_and_its_choice_remembered(opened: ExitStack) -> None:
    """Also where it has been closed for others since."""
    loaded: list[ModelKey] = []

    def load(key: ModelKey) -> LoadedModel:
        loaded.append(key)
        return LoadedModel(FakeEngine(), reason="fast", memory_bytes=HUGE)

    loop = loop_over(load)
    opened.callback(loop.close)
    assert loop.prepare(KEY).result(DEADLINE).reason == "fast"
    assert firsts(loop.submit(KEY, images_of(3))) == [3]
    loop.submit(OTHER, images_of(1)).result(DEADLINE)
    assert loop.prepare(KEY).done()
    assert loaded.count(KEY) == 1


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (ModelUnusable("There are no weights."), ModelUnusable),
        (TransientError("store_unavailable", "It does not answer."), TransientError),
        (MemoryError(), HostUnable),
        (ValueError("a wrong shape"), ModelUnusable),
    ],
    ids=repr,
)
def test_who_prepares_a_model_that_cannot_be_loaded_is_told(
    opened: ExitStack, raised: Exception, told: type[Exception]
) -> None:
    def load(key: ModelKey) -> LoadedModel:
        if key == KEY:
            raise raised
        return LoadedModel(FakeEngine())

    loop = loop_over(load)
    opened.callback(loop.close)
    with pytest.raises(told):
        loop.prepare(KEY).result(DEADLINE)
    assert firsts(loop.submit(OTHER, images_of(1))) == [1]


def test_chunks_are_accepted_while_a_model_is_being_prepared(opened: ExitStack) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def load(key: ModelKey) -> LoadedModel:
        begun.set()
        assert go_on.wait(DEADLINE)
        return LoadedModel(FakeEngine())

    loop = loop_over(load)
    opened.callback(loop.close)
    prepared = loop.prepare(KEY)
    assert begun.wait(DEADLINE)
    submitted = loop.submit(KEY, images_of(1))  # must not wait for the load
    assert not prepared.done()
    go_on.set()
    assert prepared.result(DEADLINE).engine == "torch"
    assert firsts(submitted) == [1]


def test_a_closed_loop_prepares_nothing_new() -> None:
    loop = loop_over(FakeEngine())
    loop.close()
    with pytest.raises(TransientError):
        loop.prepare(KEY)


def test_a_model_that_cannot_be_loaded_holds_up_no_other(opened: ExitStack) -> None:
    """However many threads wait for it: they are told by one load, then it is others' turn."""
    begun, go_on = threading.Event(), threading.Event()
    loads: list[ModelKey] = []
    loads_before_batch: list[int] = []

    class Healthy(FakeEngine):
        def run(self, images):  # type: ignore[no-untyped-def]
            loads_before_batch.append(len(loads))
            return super().run(images)

    def load(key: ModelKey) -> LoadedModel:
        if key == OTHER:
            return LoadedModel(Healthy())
        begun.set()
        assert go_on.wait(DEADLINE)
        loads.append(key)
        raise TransientError("store_unavailable", "It does not answer.")

    loop = loop_over(load, submitters=20)
    opened.callback(loop.close)
    waiting = [loop.prepare(KEY)]
    assert begun.wait(DEADLINE)
    waiting += [loop.prepare(KEY) for _ in range(5)]
    healthy = loop.submit(OTHER, images_of(1))
    waiting += [loop.prepare(KEY), loop.prepare(replace(KEY, canvas=(9, 9)))]
    go_on.set()
    assert firsts(healthy) == [1]
    errors = [future.exception(DEADLINE) for future in waiting]
    assert len(set(map(id, errors))) == len(errors)
    assert all(isinstance(error, TransientError) for error in errors)
    assert loads_before_batch == [2]
    assert len(loads) == 3


def test_who_waits_for_a_model_is_no_company_to_wait_for(opened: ExitStack) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def load(key: ModelKey) -> LoadedModel:
        if key.canvas == (9, 9):
            begun.set()
            assert go_on.wait(DEADLINE)
        return LoadedModel(FakeEngine())

    loop = loop_over(load, submitters=2, max_wait_seconds=10 * DEADLINE)
    opened.callback(loop.close)
    loop.prepare(replace(KEY, canvas=(9, 9)))
    assert begun.wait(DEADLINE)
    submitted = loop.submit(OTHER, images_of(1))
    other_chunk = threading.Thread(target=loop.prepare, args=(KEY,))
    other_chunk.start()
    other_chunk.join(DEADLINE)
    go_on.set()
    assert firsts(submitted) == [1]


@pytest.mark.parametrize("open_first", [True, False])
def test_a_model_of_open_precision_is_that_of_the_precision_chosen(
    opened: ExitStack, open_first: bool
) -> None:
    loaded: list[tuple[ModelKey, FakeEngine]] = []

    def load(key: ModelKey) -> LoadedModel:
        loaded.append((key, FakeEngine()))
        return LoadedModel(loaded[-1][1])

    loop = loop_over(load)
    opened.callback(loop.close)
    named = KEY.in_precision("float32")
    for key in (KEY, named) if open_first else (named, KEY):
        assert loop.prepare(key).result(DEADLINE).precision == "float32"
    assert [firsts(loop.submit(key, images_of(3))) for key in (KEY, named)] == [[3], [3]]
    if open_first:
        assert [key for key, _ in loaded] == [KEY]
    else:  # it had to be loaded to be chosen, and one of the two is enough
        assert [key for key, _ in loaded] == [named, KEY]
        assert [engine.closed for _, engine in loaded] == [False, True]


def test_a_model_that_is_loaded_again_has_the_precision_chosen(opened: ExitStack) -> None:
    loaded: list[ModelKey] = []

    def load(key: ModelKey) -> LoadedModel:
        loaded.append(key)
        return LoadedModel(FakeEngine(), memory_bytes=HUGE)

    loop = loop_over(load)
    opened.callback(loop.close)
    loop.prepare(KEY).result(DEADLINE)
    other = replace(KEY, canvas=(9, 9))
    for key in (other, KEY):
        loop.submit(key, images_of(1)).result(DEADLINE)
    assert loaded == [KEY, other, KEY.in_precision("float32")]
