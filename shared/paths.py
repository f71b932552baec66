"""Paths as users write them, of any length and with any characters."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(text: str | Path) -> Path:
    """With ``~`` as the home folder; as it is where nobody has that name."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path's raises for such a name


def exists(path: str | Path) -> bool:
    """Is there anything? False also for what can be no path."""
    return os.path.exists(path)  # noqa: PTH110 - Path's raises for a name that is too long


def is_folder(path: str | Path) -> bool:
    """Is it a folder? False also for what can be no path."""
    return os.path.isdir(path)  # noqa: PTH112 - as above
