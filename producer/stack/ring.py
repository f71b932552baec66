"""How large the staging ring of this host may be, and where it lies."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from producer import Echo
from producer.stack.home import Home
from shared.errors import PermanentError
from shared.settings import RingSettings

MIB = 1 << 20
SLOT_BYTES = (1 * MIB, 10 * MIB, 40 * MIB)
# Fewest slots with which batches of every size pass, and with which any pass at all.
FEW = (1, 2, 1)
FEWEST = (1, 2, 0)
SHARED_MEMORY = Path("/dev/shm")


def ring_directories(home: Home) -> tuple[Path, Path]:
    """Where a ring of this home may lie: shared memory, or else a file of the home."""
    return SHARED_MEMORY / home.short_name, home.root / "ring"


def plan_ring(home: Home, echo: Echo) -> RingSettings:
    """Choose the ring's place and slots: at most half of what is free there.

    Raises PermanentError where not even two slots of 10 MiB have room.
    """
    for least in (FEW, FEWEST):
        for directory in ring_directories(home):
            counts = _slot_counts(_budget_bytes(directory.parent), least)
            if counts is None:
                continue
            if directory.parent != SHARED_MEMORY:
                echo(f"No room for the staging ring in {SHARED_MEMORY}: slower, in {directory}.")
            elif counts != _wanted():
                echo(f"Little room in {SHARED_MEMORY}: the staging ring has {sum(counts)} slots.")
            sizes = zip(SLOT_BYTES, counts, strict=True)
            kept = {size: count for size, count in sizes if count}
            return RingSettings(
                directory=directory, slot_bytes=tuple(kept), slot_counts=tuple(kept.values())
            )
    raise PermanentError(
        "no_space_for_ring",
        f"No room for the staging ring in {SHARED_MEMORY} or {home.root}.",
        f"Free {2 * _total_bytes(FEWEST) // MIB} MiB in one of them.",
    )


def whole_ring(directory: Path) -> RingSettings:
    """The ring with all the slots that workers of this machine could use, whatever is free."""
    return RingSettings(directory=directory, slot_bytes=SLOT_BYTES, slot_counts=_wanted())


def _wanted() -> tuple[int, ...]:
    return 4, min(4 + 4 * (os.cpu_count() or 1), 64), 2


def _total_bytes(counts: tuple[int, ...]) -> int:
    return sum(size * count for size, count in zip(SLOT_BYTES, counts, strict=True))


def _budget_bytes(directory: Path) -> int:
    if not os.access(directory, os.W_OK | os.X_OK):
        return 0
    return shutil.disk_usage(directory).free // 2


def _slot_counts(budget_bytes: int, least: tuple[int, ...]) -> tuple[int, ...] | None:
    """As many slots as wanted, or fewer in proportion; None where ``least`` do not fit."""
    wanted = _wanted()
    if _total_bytes(wanted) <= budget_bytes:
        return wanted
    spare_bytes = budget_bytes - _total_bytes(least)
    if spare_bytes < 0:
        return None
    share = spare_bytes / _total_bytes(wanted)
    return tuple(
        few and min(count, few + int(count * share))
        for count, few in zip(wanted, least, strict=True)
    )
