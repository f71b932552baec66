"""The files of a folder that are to be uploaded, each with its key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from producer import Warn
from shared.errors import HeadraceError, UsageError
from shared.paths import exists, is_folder

MAX_KEY_BYTES = 1024
# What systems and file servers leave in people's folders, in small letters: files, and folders
# with all that is in them. Names that begin with a dot are hidden, too.
SYSTEM_NAMES = {
    *("desktop.ini", "ehthumbs.db", "ehthumbs_vista.db", "thumbs.db", "thumbs.db:encryptable"),
    *("$recycle.bin", "recycler", "system volume information", "__macosx", "icon\r"),
    *("network trash folder", "temporary items", "@eadir", "@tmp", "#recycle", "#snapshot"),
    "lost+found",
}


@dataclass(frozen=True, slots=True)
class FolderFile:
    """A file and the key that it gets."""

    path: Path
    key: str
    size: int


class Folder:
    """A folder to upload. ``hidden``: how many files the last look left out as such."""

    def __init__(self, path: Path, warn: Warn, *, everything: bool = False) -> None:
        self.path, self.hidden = path, 0
        self._warn, self._everything = warn, everything

    def files(self, prefix: str) -> Iterator[FolderFile]:
        """The files below, in order. What cannot be an object is named by a warning."""
        if not is_folder(self.path):
            is_there = exists(self.path)
            problem = f"{self.path} is a file" if is_there else f"There is no folder {self.path}"
            advice = "Name the folder that it is in." if is_there else "Check the path."
            raise UsageError("no_directory", f"{problem}.", advice)
        self.hidden = 0
        base = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        for path in self._walk(self.path, frozenset()):
            key = base + path.relative_to(self.path).as_posix()
            problem = _problem(path, key)
            if problem:
                self._warn(f"left out {str(path)!a}: {problem}.")
            else:
                yield FolderFile(path, key, path.stat().st_size)

    def _walk(self, folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
        try:
            status = folder.stat()
            entries = sorted(folder.iterdir())
        except OSError as error:
            raise unreadable(folder, error) from error
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            self._warn(f"left out {str(folder)!a}: a link to a folder around it.")
            return
        for path in entries:
            if not self._everything and is_hidden(path.name):
                self.hidden += _count(path)
            elif path.is_dir():
                yield from self._walk(path, above | {identity})
            else:
                yield path


def is_hidden(name: str) -> bool:
    """Is it the name of a file or folder that systems hide, or make for themselves?"""
    return name.startswith((".", "~$")) or name.lower() in SYSTEM_NAMES


def _count(path: Path) -> int:
    """The files in a folder, as far as it can be read; 1 for a file."""
    if path.is_symlink() or not path.is_dir():
        return 1
    return sum(len(files) for _, _, files in os.walk(path))


def _problem(path: Path, key: str) -> str:
    if not path.exists():
        return "a broken link"
    if not path.is_file():
        return "not a regular file"
    try:
        too_long = len(key.encode()) > MAX_KEY_BYTES
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return f"its key would have more than {MAX_KEY_BYTES} bytes" if too_long else ""


def unreadable(path: Path, error: OSError) -> HeadraceError:
    """The error for a file or folder that cannot be read."""
    return HeadraceError(
        "unreadable_file",
        f"Cannot read {str(path)!a}: {error.strerror}.",
        "Make it readable, or move it away, and run the same command again.",
    )
