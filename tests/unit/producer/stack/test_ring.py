from collections import namedtuple

import pytest

from producer.stack import ring
from producer.stack.home import Home
from producer.stack.ring import MIB, plan_ring
from shared.errors import PermanentError

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Plan a ring with so much free in shared memory and in the home, on a machine of 4 cores."""
    memory = tmp_path / "shm"
    home = Home(tmp_path / "home")
    memory.mkdir()
    home.root.mkdir()
    monkeypatch.setattr(ring, "SHARED_MEMORY", memory)
    monkeypatch.setattr(ring.os, "cpu_count", lambda: 4)
    told = []

    def planned(memory_mib, home_mib=100_000):
        free = {memory: memory_mib * MIB, home.root: home_mib * MIB}
        monkeypatch.setattr(ring.shutil, "disk_usage", lambda path: Usage(0, 0, free[path]))
        settings = plan_ring(home, told.append)
        where = "memory" if settings.directory.parent == memory else "home"
        slots = dict(zip(settings.slot_bytes, settings.slot_counts, strict=True))
        return where, {size // MIB: count for size, count in slots.items()}, told

    return planned


def test_with_room_the_ring_is_whole_and_in_shared_memory(plan):
    assert plan(10_000) == ("memory", {1: 4, 10: 20, 40: 2}, [])


@pytest.mark.parametrize("free_mib", [122, 130, 200, 300, 500, 567])
def test_with_less_room_it_has_fewer_slots_in_half_of_it(plan, free_mib):
    where, slots, told = plan(free_mib)
    assert where == "memory"
    assert sum(size * count for size, count in slots.items()) <= free_mib / 2
    assert slots[10] >= 2
    assert slots[40] >= 1
    assert len(told) == 1


def test_without_room_it_lies_in_the_home_and_says_so(plan):
    where, slots, told = plan(64)
    assert (where, slots) == ("home", {1: 4, 10: 20, 40: 2})
    assert "slower" in told[0]


def test_with_hardly_any_room_anywhere_there_are_no_large_slots(plan):
    where, slots, _ = plan(64, home_mib=50)
    assert where == "memory"
    assert set(slots) == {1, 10}
    assert slots[10] >= 2


def test_with_no_room_anywhere_it_is_an_error(plan):
    with pytest.raises(PermanentError, match="No room for the staging ring"):
        plan(30, home_mib=30)


def test_a_machine_without_shared_memory_uses_the_home(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(ring, "SHARED_MEMORY", tmp_path / "none")
    assert plan(0)[0] == "home"
