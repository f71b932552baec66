"""A file system of a store's own that can be made full, and larger again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.support.waiting import wait_for

SIZE_MIB = 4096


class Disk:
    """A tmpfs at ``path`` while it is entered, where this user may mount one.

    ``can_be_full`` says whether it stands; else ``path`` is a folder like any other.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.can_be_full = False

    def __enter__(self) -> Self:
        self._path.mkdir(parents=True, mode=0o700)
        self.can_be_full = self._mount("-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=700", "tmpfs")
        return self

    def __exit__(self, *_: object) -> None:
        if self.can_be_full:
            subprocess.run(["umount", "--lazy", str(self._path)], check=True)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Not a page is free while the body runs."""
        wait_for(self._shrink, what="a full disk", deadline_seconds=10)
        try:
            yield
        finally:
            assert self._mount("-o", f"remount,size={SIZE_MIB}m")

    def _shrink(self) -> bool:
        """To the size of what is stored; False where the store has just written more."""
        usage = os.statvfs(self._path)
        used = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
        return self._mount("-o", f"remount,size={used}")

    def _mount(self, *words: str) -> bool:
        command = ["mount", *words, str(self._path)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
