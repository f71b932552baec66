"""A ring with few slots, all of them taken: what holds them dies, and they come back."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.settings import load_settings
from shared.staging import Layout
from tests.support.injection.extent import FULL, JOB_SECONDS
from tests.support.injection.fingerprints import Fingerprints
from tests.support.injection.places import Places
from tests.support.injection.table import Line, note
from tests.support.stack import Stack
from tests.support.waiting import wait_for

RUNS = 6
# In half of it are three slots for chunks of 16 images; in half of the other not even two.
CRAMPED_MIB, TOO_SMALL_MIB = 128, 16
IMAGE_BYTES = 224 * 224 * 3


def with_shared_memory(mebibytes: int) -> list[str]:
    """What to type before a command, for it and all that it starts to have so much of it."""
    mapped = ["--map-root-user"] if os.geteuid() else []
    mounted = f'mount -t tmpfs -o size={mebibytes}m tmpfs /dev/shm && exec "$0" "$@"'
    return ["unshare", *mapped, "--mount", "sh", "-c", mounted]


@pytest.fixture(scope="module")
def cramped_places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("cramped places"))


@pytest.fixture(scope="module")
def cramped(
    tmp_path_factory: pytest.TempPathFactory, cramped_places: Places
) -> Iterator[Fingerprints]:
    """A stack that is up with too little shared memory for any ring, and its undisturbed run."""
    base = tmp_path_factory.mktemp("cramped")
    (base / "plugins").mkdir()
    environment = {"HEADRACE_PLUGINS": str(base / "plugins"), **cramped_places.environment}
    stack = Stack(base / "home", environment)
    try:
        up = stack.run("up", prefix=with_shared_memory(TOO_SMALL_MIB))
        assert "No room for the staging ring in /dev/shm" in up.stderr
        yield Fingerprints(stack, base / "plugins", "cramped", images=3008 if FULL else 192)
    finally:
        stack.run("down", check=False)


def slots_taken(stack: Stack) -> bool:
    """Is there something in each slot that a chunk fits in?"""
    layout, beside = Layout.of(load_settings(stack.home).ring), stack.pids("preprocess")[0]
    headers = [
        Path(f"/proc/{beside}/root{layout.header_path(place.index)}").read_bytes()
        for place in layout.places
        if place.slot_bytes >= 16 * IMAGE_BYTES
    ]
    return len(headers) == 3 and all(header.strip(b"\0") for header in headers)


def test_with_too_little_shared_memory_the_ring_is_a_file(cramped: Fingerprints) -> None:
    ring = load_settings(cramped.stack.home).ring
    assert ring.directory.is_relative_to(cramped.stack.home)
    line = Line(f"/dev/shm too small: {TOO_SMALL_MIB} MiB")
    cramped.check(cramped.enqueue(), line)
    line.remark = "the ring is a file of the home"
    note(line)


def test_slots_of_stopped_and_killed_processes_come_back(
    cramped: Fingerprints, cramped_places: Places, draw: random.Random
) -> None:
    cramped.learn()
    stack, places = cramped.stack, cramped_places
    stack.run("down")
    up = stack.run("up", prefix=with_shared_memory(CRAMPED_MIB))
    assert "the staging ring has 4 slots" in up.stderr
    line = Line("Staging ring full; slots of killed processes; Batch message lost after staging")
    for run in range(RUNS if FULL else 1):
        # While the reader is stopped, three chunks are staged and the fourth waits for its slot.
        places.arm("slot being read", "stop")
        places.arm("half staged", "kill", passing=draw.randrange(65, 100))
        places.arm("batch recorded and not sent", "skip", passing=draw.randrange(4, 8))
        job = cramped.enqueue()
        reader = places.struck("slot being read")
        wait_for(lambda: slots_taken(stack), what="a full ring", deadline_seconds=JOB_SECONDS)
        os.kill(reader, signal.SIGKILL if run % 2 == 0 else signal.SIGCONT)
        places.struck("half staged")
        places.struck("batch recorded and not sent")
        cramped.check(job, line)
    line.remark = "three slots: more are lost to killed processes than there are" if FULL else ""
    note(line)
