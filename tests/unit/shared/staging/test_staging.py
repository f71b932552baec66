"""Slots: kernel locks, headers, and what a death leaves behind. Real files, real processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.errors import PermanentError, TransientError
from shared.ledger import ChunkRef
from shared.messages import Slot
from shared.settings import RingSettings
from shared.staging import Layout, SlotGone, StagingRing, create_ring, open_ring
from tests.support.waiting import wait_for

SMALL, LARGE = 4096, 16384


def ref(chunk: int, attempt: int = 1) -> ChunkRef:
    return ChunkRef("i" * 16, "j" * 16, chunk, attempt)


def nothing_staged(refs: list[ChunkRef]) -> list[bool]:
    return [False for _ in refs]


def all_staged(refs: list[ChunkRef]) -> list[bool]:
    return [True for _ in refs]


def never() -> bool:
    return False


def slot(index: int) -> Slot:
    return Slot(host_id="here", index=index, images=1)


@pytest.fixture
def settings(tmp_path: Path) -> RingSettings:
    return RingSettings(directory=tmp_path / "ring", slot_bytes=(SMALL, LARGE), slot_counts=(2, 1))


@pytest.fixture
def ring(settings: RingSettings) -> Iterator[StagingRing]:
    create_ring(settings)
    return open_ring(settings, "here")


def test_what_is_written_is_read_by_the_attempt_that_wrote_it(ring: StagingRing) -> None:
    hold = ring.take(SMALL, ref(1), staged=nothing_staged, stopping=never)
    hold.pixels[:] = 7
    hold.release()
    reader = ring.read(slot(hold.index), ref(1))
    assert reader.pixels.shape == (SMALL,)
    assert np.all(reader.pixels == 7)
    reader.release()
    with pytest.raises(SlotGone):
        ring.read(slot(hold.index), ref(1))


def test_another_attempt_finds_the_slot_gone(ring: StagingRing) -> None:
    hold = ring.take(SMALL, ref(1), staged=nothing_staged, stopping=never)
    hold.release()
    for other in (ref(1, attempt=2), ref(2)):
        with pytest.raises(SlotGone):
            ring.read(slot(hold.index), other)
    with pytest.raises(SlotGone):
        ring.read(Slot(host_id="elsewhere", index=hold.index, images=1), ref(1))
    with pytest.raises(SlotGone):
        ring.read(slot(99), ref(1))


def test_a_chunk_takes_the_smallest_free_slot_that_fits(ring: StagingRing) -> None:
    taken = [
        ring.take(size, ref(chunk), staged=nothing_staged, stopping=never)
        for chunk, size in enumerate((LARGE, SMALL, SMALL))
    ]
    assert [len(hold.pixels) for hold in taken] == [LARGE, SMALL, SMALL]
    with pytest.raises(PermanentError, match="chunk-items"):
        ring.take(LARGE + 1, ref(9), staged=nothing_staged, stopping=never)


def test_a_full_ring_makes_the_writer_wait_until_a_reader_is_done(ring: StagingRing) -> None:
    holds = [ring.take(SMALL, ref(chunk), staged=all_staged, stopping=never) for chunk in range(3)]
    for hold in holds:
        hold.release()
    got: list[int] = []

    def take() -> None:
        got.append(ring.take(SMALL, ref(9), staged=all_staged, stopping=never).index)

    writer = threading.Thread(target=take)
    writer.start()
    reader = ring.read(slot(holds[1].index), ref(1))
    assert not got
    reader.release()
    writer.join(10)
    assert got == [holds[1].index]


def test_a_writer_that_waits_leaves_when_the_worker_stops(ring: StagingRing) -> None:
    for chunk in range(3):
        ring.take(SMALL, ref(chunk), staged=all_staged, stopping=never).release()
    with pytest.raises(TransientError, match="stopping"):
        ring.take(SMALL, ref(9), staged=all_staged, stopping=lambda: True)


def test_a_slot_whose_header_the_ledger_no_longer_knows_is_free(ring: StagingRing) -> None:
    for chunk in range(3):
        ring.take(SMALL, ref(chunk), staged=all_staged, stopping=never).release()
    hold = ring.take(
        SMALL, ref(9), staged=lambda refs: [r.chunk != 1 for r in refs], stopping=never
    )
    hold.release()
    with pytest.raises(SlotGone):
        ring.read(slot(hold.index), ref(1))


def test_the_ledger_is_asked_again_under_the_lock(ring: StagingRing) -> None:
    """A writer may stage its chunk between the first question and the lock."""
    for chunk in range(3):
        ring.take(SMALL, ref(chunk), staged=all_staged, stopping=never).release()
    asked: list[int] = []

    def staged_just_now(refs: list[ChunkRef]) -> list[bool]:
        asked.append(len(refs))
        return [len(asked) > 1 for _ in refs]

    with pytest.raises(TransientError):
        ring.take(SMALL, ref(9), staged=staged_just_now, stopping=lambda: len(asked) > 4)
    assert ring.read(slot(0), ref(0)).pixels.shape == (SMALL,)


def test_abandoning_frees_the_slot(ring: StagingRing) -> None:
    hold = ring.take(LARGE, ref(1), staged=all_staged, stopping=never)
    hold.abandon()
    again = ring.take(LARGE, ref(2), staged=all_staged, stopping=never)
    assert again.index == hold.index
    hold.abandon()  # a second time does nothing to the new holder
    again.release()
    ring.read(slot(again.index), ref(2)).release()


HOLDER = """
import sys, pathlib
from shared.ledger import ChunkRef
from shared.settings import RingSettings
from shared.staging import open_ring
ring = open_ring(RingSettings.model_validate_json(sys.argv[1]), "here")
hold = ring.take(1, ChunkRef("i" * 16, "j" * 16, 5, 1),
                 staged=lambda refs: [True for _ in refs], stopping=lambda: False)
print(hold.index, flush=True)
sys.stdin.read()
"""


def test_death_releases_the_lock_and_time_does_not(
    ring: StagingRing, settings: RingSettings
) -> None:
    for chunk in range(3):
        hold = ring.take(SMALL, ref(chunk), staged=all_staged, stopping=never)
        if chunk == 0:
            hold.abandon()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, settings.model_dump_json()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        index = int(holder.stdout.readline())
        free = [p for p in Layout.of(settings).places if p.index == index]
        assert ring._claim(free[0], ref(8), lambda _: False) is None
        holder.kill()
    taken = wait_for(
        lambda: ring._claim(free[0], ref(8), lambda _: False), what="the dead holder's lock"
    )
    taken.release()
    with pytest.raises(SlotGone):
        ring.read(slot(index), ref(5))


def test_a_ring_of_the_right_size_is_kept(settings: RingSettings) -> None:
    create_ring(settings)
    ring = open_ring(settings, "here")
    ring.take(SMALL, ref(1), staged=all_staged, stopping=never).release()
    create_ring(settings)
    open_ring(settings, "here").read(slot(0), ref(1)).release()


def test_the_ring_is_for_its_owner_only(ring: StagingRing, settings: RingSettings) -> None:
    assert settings.directory.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in settings.directory.iterdir())


def test_no_ring_is_a_clear_error(settings: RingSettings) -> None:
    with pytest.raises(PermanentError, match="headrace up"):
        open_ring(settings, "here")
