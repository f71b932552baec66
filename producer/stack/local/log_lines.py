"""The logs of a stack's processes, joined and followed."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from producer.stack.home import find_home
from producer.stack.local.states import role_of
from producer.stack.log_filter import TAIL_LINES, Wanted, names_job
from shared.errors import UsageError

POLL_SECONDS = 0.25


def logs(
    home: Path,
    role: str | None = None,
    follow: bool = False,
    tail: int | None = None,
    job: str | None = None,
) -> Iterator[str]:
    """Yield lines ``process | text``: the last ``tail`` of each log, then what is added.

    ``role`` may also name one process, such as ``preprocess-2``. Without ``follow`` it ends there.
    ``job``: only lines that name it. ``tail`` None: 20 lines, or all of a job's that are kept.
    Raises UsageError where there is no such log.
    """
    folder = find_home(home).logs
    paths = {path.stem: path for path in sorted(folder.glob("*.log"))}
    chosen = {
        name: path for name, path in paths.items() if role is None or role in (name, role_of(name))
    }
    if not chosen:
        known = ", ".join(sorted({role_of(name) for name in paths})) or "none yet"
        raise UsageError(
            "no_log", f"No log of {role or 'anything'} in {folder}.", f"There are: {known}."
        )
    tail = (TAIL_LINES if job is None else sys.maxsize) if tail is None else tail
    return _lines(chosen, follow, tail, names_job(job))


def last_lines(path: Path, count: int, wanted: Wanted = lambda _: True) -> list[str]:
    """The last ``wanted`` lines of a log and of what was rotated away from it."""
    found: list[str] = []
    for file in (path, *sorted(path.parent.glob(f"{path.name}.[0-9]"))):  # the newest first
        if len(found) < count:
            found = [*deque(filter(wanted, _lines_of(file)), count - len(found)), *found]
    return [line.rstrip("\n") for line in found]


def _lines_of(path: Path) -> Iterator[str]:
    try:
        with path.open(errors="replace") as file:
            yield from file
    except FileNotFoundError:  # rotated meanwhile
        return


def _lines(paths: dict[str, Path], follow: bool, tail: int, wanted: Wanted) -> Iterator[str]:
    sizes = {name: path.stat().st_size for name, path in paths.items()}
    for name, path in paths.items():
        yield from (f"{name} | {line}" for line in last_lines(path, tail, wanted))
    while follow:
        for name, path in paths.items():
            added, sizes[name] = _read_from(path, sizes[name])
            yield from (f"{name} | {line}" for line in filter(wanted, added))
        time.sleep(POLL_SECONDS)


def _read_from(path: Path, offset: int) -> tuple[list[str], int]:
    """Whole lines from ``offset``, and the offset after them. A rotated file is read from 0."""
    try:
        if path.stat().st_size < offset:
            offset = 0
        with path.open("rb") as file:
            file.seek(offset)
            text = file.read()
    except FileNotFoundError:
        return [], 0
    whole = text[: text.rfind(b"\n") + 1]
    return whole.decode(errors="replace").splitlines(), offset + len(whole)
