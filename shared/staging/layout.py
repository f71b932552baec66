"""The ring on disk: one file of pixels, mapped once, and beside it one small file a slot."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from shared.errors import PermanentError
from shared.settings import RingSettings

PIXELS_FILE = "pixels"


@dataclass(frozen=True, slots=True)
class SlotPlace:
    """Where one slot lies in the pixels file."""

    index: int
    offset: int
    slot_bytes: int


@dataclass(frozen=True, slots=True)
class Layout:
    """All slots, smallest class first."""

    directory: Path
    places: tuple[SlotPlace, ...]

    @classmethod
    def of(cls, ring: RingSettings) -> Layout:
        """The layout follows from the settings alone, so every process computes the same."""
        places: list[SlotPlace] = []
        offset = 0
        for slot_bytes, count in sorted(zip(ring.slot_bytes, ring.slot_counts, strict=True)):
            for _ in range(count):
                places.append(SlotPlace(len(places), offset, slot_bytes))
                offset += slot_bytes
        return cls(ring.directory, tuple(places))

    @property
    def total_bytes(self) -> int:
        """Size of the pixels file."""
        return sum(place.slot_bytes for place in self.places)

    @property
    def pixels_path(self) -> Path:
        """The file that every process maps."""
        return self.directory / PIXELS_FILE

    def header_path(self, index: int) -> Path:
        """The file whose lock guards slot ``index`` and whose text says what is in it."""
        return self.directory / f"slot-{index:04d}"


def create_ring(ring: RingSettings) -> None:
    """Allocate the ring, for its owner only. One of the right size is kept as it is.

    Raises PermanentError ``no_space_for_ring``. Space is allocated and not merely promised: a write
    into a sparse file on a full tmpfs dies by SIGBUS.
    """
    layout = Layout.of(ring)
    path = layout.pixels_path
    try:
        layout.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists() or path.stat().st_size != layout.total_bytes:
            for stale in layout.directory.iterdir():
                stale.unlink()
            _allocate(path, layout.total_bytes)
        for place in layout.places:
            layout.header_path(place.index).touch(mode=0o600)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        path.unlink(missing_ok=True)
        raise PermanentError(
            "no_space_for_ring",
            f"No space for a staging ring of {layout.total_bytes >> 20} MiB in {ring.directory}.",
            "Free some, or set fewer slots in settings.json.",
        ) from error


def _allocate(path: Path, size: int) -> None:
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:  # macOS: writing is the only way to allocate
            block = bytes(2**20)
            for start in range(0, size, len(block)):
                os.write(descriptor, block[: size - start])
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    temporary.replace(path)
