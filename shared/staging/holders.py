"""Who holds the ring's locks, as far as this host's ``/proc`` tells.

``/proc/locks`` names the process that took a lock. That may be dead while a child that it forked
has the lock still, so this looks into every process's descriptors instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from shared.locks import is_locked
from shared.staging.layout import Layout

_PROC = Path("/proc")
_SHOWN_CHARACTERS = 60

# The device and the inode of a file.
_File = tuple[int, int]


def holders(layout: Layout) -> dict[int, list[int]]:
    """The processes that hold each locked slot's lock, by the slot's index.

    An empty list: somebody holds it who cannot be seen, as in another container, as another user,
    or without Linux. Raises FileNotFoundError where there is no ring.
    """
    paths = {place.index: layout.header_path(place.index) for place in layout.places}
    locked = {_file(path.stat()): index for index, path in paths.items() if is_locked(path)}
    found: dict[int, list[int]] = {index: [] for index in locked.values()}
    for pid in _pids() if locked else ():
        for file in _locked_by(pid, locked):
            found[locked[file]].append(pid)
    # Nobody has those that came free meanwhile.
    return {index: pids for index, pids in found.items() if pids or is_locked(paths[index])}


def described(pids: set[int]) -> str:
    """Processes with the beginning of their command lines, or ``unknown``."""
    return ", ".join(f"{pid} ({_command(pid)})" for pid in sorted(pids)) or "unknown"


def _pids() -> list[int]:
    with suppress(OSError):
        return sorted(int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal())
    return []


def _locked_by(pid: int, files: dict[_File, int]) -> Iterator[_File]:
    """Those of ``files`` whose lock a descriptor of the process has."""
    seen = set()
    with suppress(OSError):  # it has ended, or is not ours
        for descriptor in (_PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                file = _file(descriptor.stat())
                if file in files and file not in seen and _has_lock(pid, descriptor.name):
                    seen.add(file)
                    yield file


def _has_lock(pid: int, descriptor: str) -> bool:
    information = (_PROC / str(pid) / "fdinfo" / descriptor).read_text()
    return any(
        line.startswith("lock:") and "FLOCK" in line.split() for line in information.splitlines()
    )


def _file(status: os.stat_result) -> _File:
    return status.st_dev, status.st_ino


def _command(pid: int) -> str:
    try:
        text = (_PROC / str(pid) / "cmdline").read_text(errors="replace")
    except OSError:
        return "ended"
    program, *arguments = text.split("\0")
    line = " ".join([Path(program).name, *arguments])
    return " ".join(line.split())[:_SHOWN_CHARACTERS] or "no command line"
