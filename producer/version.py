"""The version of this installation."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata

from shared.settings import PROJECT_ROOT


@cache
def version() -> str:
    """As in ``pyproject.toml``, or of the installed package where there is no such file."""
    try:
        project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]
        return str(project["version"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        pass
    try:
        return metadata("headrace")["Version"]
    except PackageNotFoundError:
        return "unknown"
