"""Formats: the files that models come in, one file of ours for each."""

import pkgutil
from importlib import import_module

from workers.inference.formats.port import Format

__all__ = ["FORMATS", "Format", "format_of"]

FORMATS = tuple(sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name != "port"))


def format_of(name: str) -> Format:
    """The format of that name."""
    found: Format = import_module(f"{__name__}.{name}").FORMAT
    return found
