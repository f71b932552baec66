"""The home of a stack: the one folder with its data, its logs, its secrets and its lock."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from producer import Echo
from shared.errors import HeadraceError, PermanentError
from shared.locks import Lock

MIN_FREE_BYTES = 1 << 30
# A socket's path holds about 100 bytes, of which ours take 50.
MAX_SOCKET_PARENT_BYTES = 50


@dataclass(frozen=True, slots=True)
class Home:
    """Paths of one stack. ``root`` is resolved, so that one folder has one name."""

    root: Path

    @property
    def run(self) -> Path:
        """Generated configuration of the services, the supervisor's pid file and the lock."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """One ``<process>.log`` a process, rotated by the supervisor."""
        return self.root / "logs"

    @property
    def data(self) -> Path:
        """What the services keep."""
        return self.root / "data"

    @property
    def short_name(self) -> str:
        """Names this stack where the home's own path would be too long or too odd."""
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:10]
        return f"headrace-{os.getuid()}-{digest}"


def find_home(path: Path) -> Home:
    """The home at ``path``, whether it exists or not."""
    return Home(path.expanduser().resolve())


def prepare_home(path: Path, services: Sequence[str] = ("valkey", "seaweedfs")) -> Home:
    """Make the folders of a home, with one of data for each service.

    Raises PermanentError where that cannot be.
    """
    home = find_home(path)
    try:
        home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (home.run, home.logs, *map(home.data.joinpath, services)):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=home.root):
            pass
        free_bytes = shutil.disk_usage(home.root).free
    except OSError as error:
        raise PermanentError(
            "home_not_writable",
            f"Cannot write to {home.root}: {error.strerror}.",
            "Set HEADRACE_HOME to a folder that you may write to.",
        ) from error
    if free_bytes < MIN_FREE_BYTES:
        raise PermanentError(
            "no_space",
            f"Only {free_bytes >> 20} MiB are free for {home.root}.",
            "Free 1 GiB, or set HEADRACE_HOME to a folder on another disk.",
        )
    return home


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, atomically."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)


@contextmanager
def locked(home: Home, echo: Echo) -> Iterator[None]:
    """Let one command at a time change the stack. A second one says that it waits."""
    path, flags = home.run / "lock", os.O_RDWR | os.O_CREAT
    lock = Lock.take(path, flags)
    if lock is None:
        echo("Waiting for another command that changes this stack.")
        lock = Lock.wait_for(path, flags)
    try:
        yield
    finally:
        lock.release()


def socket_directory(home: Home) -> Path:
    """A private folder with a path that is short and plain enough for sockets; made if missing.

    Raises HeadraceError where somebody else has taken the name.
    """
    parent = tempfile.gettempdir()
    plain = re.fullmatch(r"[\w./+-]+", parent, re.ASCII)
    if not plain or len(parent) > MAX_SOCKET_PARENT_BYTES:
        parent = "/tmp"
    directory = Path(parent) / home.short_name
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        raise HeadraceError(
            "no_socket_directory",
            f"Cannot make {directory}: {error.strerror}.",
            "Set TMPDIR to a folder with a short path that you may write to.",
        ) from error
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or directory.is_symlink():
        raise HeadraceError(
            "no_socket_directory",
            f"{directory} is not a private folder of yours.",
            "Remove it, or set TMPDIR to another folder.",
        )
    return directory
