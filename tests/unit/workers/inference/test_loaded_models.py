"""Models that stay loaded: as many as fit, and those first that chunks need next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.support.fake_engine import FakeEngine, images_of
from tests.support.samples import pipeline
from workers.inference.device import DeviceLoop
from workers.inference.engines import Images, Outputs
from workers.inference.engines.hardware import memory_bytes
from workers.inference.model_types import LoadedModel, ModelKey
from workers.inference.models import CLASS_SHARE, LoadedModels

BUDGET_BYTES = 100
SIXTEEN = "abcdefghijklmnop"
DEADLINE = 20


class Loader:
    """Loads fake engines; ``sizes``: their bytes by the width of their images."""

    def __init__(self, **sizes: int | None) -> None:
        self._sizes = sizes
        self.loads: list[str] = []
        self.engines: dict[str, FakeEngine] = {}

    def __call__(self, key: ModelKey) -> LoadedModel:
        name = key.model.name
        self.loads.append(name)
        self.engines[name] = FakeEngine()
        return LoadedModel(self.engines[name], memory_bytes=self._sizes[name])

    @property
    def open(self) -> list[str]:
        return sorted(name for name, engine in self.engines.items() if not engine.closed)


def key_of(name: str) -> ModelKey:
    model = ModelKey.of(pipeline(precision="float32"), "classes").model
    key = ModelKey.of(pipeline(precision="float32"), "classes")
    return replace(key, model=model.model_copy(update={"name": name}))


def used(loader: Loader, names: str, needed: str = "") -> LoadedModels:
    """Models of which each was used in turn; those ``needed`` are used next."""
    models = LoadedModels(loader, budget_bytes=BUDGET_BYTES)
    for name in names:
        models.get(key_of(name))
        models.fit([key_of(each) for each in needed])
    return models


@pytest.mark.parametrize(
    ("sizes", "names", "expected"),
    [
        ({"a": 50, "b": 50}, "ababab", "ab"),
        ({"a": 1, "b": 1, "c": 1, "d": 1}, "abcdabcd", "abcd"),
        ({"a": 40, "b": 40, "c": 40}, "abac", "ac"),  # the one used longest ago goes
        ({"a": 10, "b": 20, "c": 90}, "abc", "c"),
        ({"a": 30, "b": 60, "c": 40}, "abc", "bc"),  # and no more than needed
        ({"a": 1000}, "aaa", "a"),  # one is always kept
        ({"a": 10, "b": 1000}, "ab", "b"),
        (dict.fromkeys(SIXTEEN), SIXTEEN, SIXTEEN),  # all classes of one pipeline
        (dict.fromkeys(SIXTEEN + "q"), SIXTEEN + "q", SIXTEEN[1:] + "q"),
        ({"a": None, "b": 95}, "ab", "b"),
        ({"a": None, "b": 94}, "ab", "ab"),
    ],
)
def test_those_used_last_stay_as_far_as_they_fit(
    sizes: dict[str, int | None], names: str, expected: str
) -> None:
    loader = Loader(**sizes)
    used(loader, names)
    assert "".join(loader.open) == expected
    assert loader.loads == list(dict.fromkeys(names))


@pytest.mark.parametrize(
    ("needed", "expected"), [("", "bc"), ("a", "ac"), ("b", "bc"), ("ab", "abc"), ("abc", "abc")]
)
def test_a_model_that_a_chunk_in_hand_needs_is_never_closed(needed: str, expected: str) -> None:
    loader = Loader(**dict.fromkeys("abc", 50))
    used(loader, "abc", needed)
    assert "".join(loader.open) == expected


def test_a_class_counts_as_much_as_its_process_takes_now() -> None:
    loader = Loader(**dict.fromkeys("abc"))
    models = used(loader, "ab")
    taken = {"a": 10, "b": 70}
    for name, engine in loader.engines.items():
        engine.resident_bytes = taken[name]  # type: ignore[attr-defined]
    models.get(key_of("c"))
    models.fit()
    assert loader.open == ["a", "b", "c"]
    loader.engines["b"].resident_bytes = 90  # type: ignore[attr-defined]
    models.fit()
    assert loader.open == ["b", "c"]


def test_that_a_model_made_room_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        used(Loader(a=60, b=60), "ababab")
    assert caplog.messages == [
        "model 'a' is closed to make room for 'b'",
        "model 'b' is closed to make room for 'a'",
    ]


def test_the_budget_is_a_share_of_the_memory_there_is() -> None:
    fits = int(0.2 * memory_bytes())
    loader = Loader(a=fits, b=fits, c=fits)
    models = LoadedModels(loader)
    for name in "abc":
        models.get(key_of(name))
        models.fit()
    assert loader.open == ["b", "c"]
    assert 0 < CLASS_SHARE < 1


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_the_device_keeps_what_waits_for_it(opened: ExitStack) -> None:
    """While ``a`` runs, ``c`` and ``b`` are submitted: ``b`` stays, though it is the oldest."""
    loader = Loader(a=50, b=50, c=50)
    begun = FakeEngine()

    class Gated(FakeEngine):
        def run(self, images: Images) -> Outputs:
            begun.running.set()
            assert begun.gate.wait(DEADLINE)
            return super().run(images)

    def load(key: ModelKey) -> LoadedModel:
        loaded = loader(key)
        if key.model.name != "a":
            return loaded
        loader.engines["a"] = Gated()
        return replace(loaded, engine=loader.engines["a"])

    loop = DeviceLoop(LoadedModels(load, budget_bytes=BUDGET_BYTES), max_wait_seconds=0)
    opened.callback(loop.close)
    loop.submit(key_of("b"), images_of(1)).result(DEADLINE)
    begun.gate.clear()
    futures = [loop.submit(key_of("a"), images_of(1))]
    assert begun.running.wait(DEADLINE)
    futures += [loop.submit(key_of(name), images_of(1)) for name in "cb"]
    begun.gate.set()
    for future in futures:
        future.result(DEADLINE)
    assert loader.loads == ["b", "a", "c"]
    assert loader.open == ["b", "c"]


def test_the_device_keeps_what_a_chunk_in_hand_needs(opened: ExitStack) -> None:
    """All of its models are loaded before any of them has images waiting."""
    loader = Loader(a=50, b=50, c=50, d=50)
    loop = DeviceLoop(LoadedModels(loader, budget_bytes=BUDGET_BYTES), max_wait_seconds=0)
    opened.callback(loop.close)
    with loop.keeping([key_of(name) for name in "abc"]):
        for name in "abcabc":
            loop.submit(key_of(name), images_of(1)).result(DEADLINE)
        assert loader.loads == ["a", "b", "c"]
    loop.submit(key_of("d"), images_of(1)).result(DEADLINE)
    assert loader.open == ["c", "d"]
