"""Layouts: how the raw arrays of a detector become boxes, one file for each."""

import pkgutil
from importlib import import_module

from workers.inference.layouts.port import Arrays, Candidates, Layout

__all__ = ["LAYOUTS", "Arrays", "Candidates", "Layout", "layout_of"]

# The other modules in this folder.
_NO_LAYOUTS = frozenset({"grid", "port", "values"})
LAYOUTS = tuple(
    sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name not in _NO_LAYOUTS)
)


def layout_of(name: str) -> Layout:
    """The layout of that name."""
    layout: Layout = import_module(f"{__name__}.{name}").LAYOUT
    return layout
