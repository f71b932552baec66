"""``models add`` while removals of the same model run: it gives a model, or says why not."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from producer.models import prune, unused
from producer.models.add import _released
from producer.pins import Pin, marked
from shared.catalog import current_release, release
from shared.errors import HeadraceError, PermanentError
from tests.support.adding import Bench
from tests.support.fake_connections import Fake, fake_connections
from tests.support.interleaving import SteppedStore
from tests.support.models_bucket import A, B, put_release, put_version, rm

SAMPLES = 200
LONGEST = 40  # more requests than either makes


class World:
    """What adds, what removes, and what prunes the model ``cats``, over one store."""

    def __init__(self, fake: Fake, folder: Path) -> None:
        assert isinstance(fake.store, SteppedStore)
        self.fake, self.store = fake, fake.store
        self.bench = Bench(folder, self.store)
        self.pin = Pin("cats", self.bench.sha256)
        self.succeeded = 0

    def add(self) -> None:
        with suppress(HeadraceError):
            self.bench.add()
            self.succeeded += 1

    def remove(self) -> None:
        with suppress(HeadraceError):
            rm(self.fake, "cats")

    def remove_version(self) -> None:
        with suppress(HeadraceError):
            rm(self.fake, str(self.pin.folder) + "@" + self.pin.sha256)

    def prune(self) -> None:

        with suppress(HeadraceError):
            found = unused(self.fake.connections, timedelta(), self.bench.catalog)
            prune(self.fake.connections, found, timedelta())

    def check(self) -> None:
        current = current_release(self.store, "models", "cats")
        if current is None:
            return
        pin = Pin("cats", current.sha256)
        is_marked = pin in marked(self.store, "models")  # so no job may use it
        assert is_marked or self.store.exists("models", pin.key), "the name means what is gone"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("tests.support.fake_connections.MemoryStore", SteppedStore)
    (tmp_path / "fake").mkdir()
    (tmp_path / "bench").mkdir()
    return World(fake_connections(tmp_path / "fake"), tmp_path / "bench")


def orders() -> Iterator[tuple[list[int], int | None]]:
    """Either of the two whole at every moment of the other, and others by chance."""
    for cut in range(LONGEST):
        yield [1] * cut + [0] * LONGEST, None
        yield [0] * cut + [1] * LONGEST, None
    chance = random.Random(17)
    for _ in range(SAMPLES):
        yield [chance.randrange(6) for _ in range(80)], chance.choice((None, *range(20)))


@pytest.mark.parametrize("removal", ["remove", "remove_version", "prune"])
@pytest.mark.parametrize("stands", [True, False])
def test_what_the_name_means_stands(world: World, removal: str, stands: bool) -> None:
    world.bench.add()
    made = dict(world.store.buckets["models"])
    if not stands:
        made = {}
    elif removal != "remove":  # a version that is not current
        made = {key: data for key, data in made.items() if "/releases/" not in key}
    for turns, die_at in orders():
        world.store.buckets = {"state": {}, "models": dict(made)}
        world.store.play(turns, getattr(world, removal), world.add, die_at=die_at)
        world.check()
    assert world.succeeded


def gone(fake: Fake, pin: Pin) -> None:
    fake.store.delete("models", pin.key)


def being_removed(fake: Fake, pin: Pin) -> None:
    fake.store.put("models", f"{pin.marks}token", b"")


@pytest.mark.parametrize("happens", [gone, being_removed])
def test_a_release_of_what_goes_is_taken_back_unless_it_was_there(fake: Fake, happens) -> None:
    put_version(fake, "cats", A)
    put_release(fake, "cats", 1, A)
    pin = put_version(fake, "cats", B)
    happens(fake, pin)
    with pytest.raises(PermanentError) as caught:
        _released(pin, fake.store, "models")
    assert caught.value.code == "model_removed"
    current = current_release(fake.store, "models", "cats")
    assert current is not None
    assert current.sha256 == A
    release(fake.store, "models", "cats", B)
    with pytest.raises(PermanentError):
        _released(pin, fake.store, "models")
    current = current_release(fake.store, "models", "cats")
    assert current is not None
    assert current.sha256 == B
