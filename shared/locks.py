"""Kernel locks that come free however their process ends, whatever children it has forked.

A forked child shares its parent's open files, and so its locks: an ``flock`` is let go when it is
unlocked, or when the last of them has closed the file. So a release unlocks before it closes, and
a forked child closes at once what its parent holds locks with. A program that is started has none:
Python opens files so that they do not survive ``exec``.

One case remains: C code that forks by itself, without ``exec``, runs none of Python's hooks. Where
the parent is killed by SIGKILL while it holds a lock, such a child keeps that lock until it ends.
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path

# Held while a descriptor is opened or closed, so that a fork finds each one noted. Never held while
# waiting for a lock. Reentrant: a fork may come from a signal handler, or from what is collected.
_changing = threading.RLock()
_open: set[Lock] = set()


class Lock:
    """An exclusive lock on a file, which may be read and written through it.

    ``take`` and ``wait_for`` make one.
    """

    def __init__(self, path: Path, flags: int) -> None:
        with _changing:
            self._descriptor: int | None = os.open(path, flags, 0o600)
            _open.add(self)

    @classmethod
    def take(cls, path: Path, flags: int = os.O_RDWR) -> Lock | None:
        """Lock the file, or None where somebody else has locked it."""
        lock = cls(path, flags)
        try:
            lock._lock(fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        return lock

    @classmethod
    def wait_for(cls, path: Path, flags: int = os.O_RDWR) -> Lock:
        """Lock the file as soon as nobody else has locked it."""
        lock = cls(path, flags)
        lock._lock(fcntl.LOCK_EX)
        return lock

    @property
    def is_held(self) -> bool:
        """Not after its release, nor in a child that was forked while it was held."""
        return self._descriptor is not None

    def read(self, count: int) -> bytes:
        """The file's first bytes. Only while it is held."""
        assert self._descriptor is not None
        return os.pread(self._descriptor, count, 0)

    def write(self, data: bytes) -> None:
        """Overwrite the file's first bytes. Only while it is held."""
        assert self._descriptor is not None
        os.pwrite(self._descriptor, data, 0)

    def release(self) -> None:
        """Let go. A second time does nothing."""
        with _changing:
            descriptor, self._descriptor = self._descriptor, None
            _open.discard(self)
            if descriptor is None:
                return
            try:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            finally:
                os.close(descriptor)

    def _lock(self, operation: int) -> None:
        assert self._descriptor is not None
        try:
            fcntl.flock(self._descriptor, operation)
        except BaseException:
            self.release()
            raise

    def _forget(self) -> None:
        """Close without unlocking: the lock is the parent's."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether somebody has locked the file now."""
    if (lock := Lock.take(path)) is None:
        return True
    lock.release()
    return False


def _close_in_child() -> None:
    for lock in _open:
        lock._forget()
    _open.clear()
    _changing.release()


os.register_at_fork(
    before=_changing.acquire, after_in_parent=_changing.release, after_in_child=_close_in_child
)
