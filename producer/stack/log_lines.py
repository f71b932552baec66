"""The logs of a stack's processes, joined and followed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from producer.stack.home import find_home
from producer.stack.states import role_of
from shared.errors import UsageError

POLL_SECONDS = 0.25


def logs(
    home: Path, role: str | None = None, follow: bool = False, tail: int = 20
) -> Iterator[str]:
    """Yield lines ``process | text``: the last ``tail`` of each log, then what is added.

    ``role`` may also name one process, such as ``preprocess-2``. Without ``follow`` it ends there.
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
    return _lines(chosen, follow, tail)


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a file; none where it does not exist."""
    if count <= 0 or not path.exists():
        return []
    with path.open(errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, count)]


def _lines(paths: dict[str, Path], follow: bool, tail: int) -> Iterator[str]:
    sizes = {name: path.stat().st_size for name, path in paths.items()}
    for name, path in paths.items():
        yield from (f"{name} | {line}" for line in last_lines(path, tail))
    while follow:
        for name, path in paths.items():
            added, sizes[name] = _read_from(path, sizes[name])
            yield from (f"{name} | {line}" for line in added)
        time.sleep(POLL_SECONDS)


def _read_from(path: Path, offset: int) -> tuple[list[str], int]:
    """Whole lines from ``offset``, and the offset after them. A rotated file begins anew."""
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
