"""Layouts: how the raw arrays of a detector become boxes, one file for each."""

import pkgutil
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy.typing as npt

from shared.placement import Size
from workers.inference.layouts.port import Arrays, Candidates, Layout

__all__ = ["LAYOUTS", "Arrays", "Candidates", "Layout", "confirmed", "layout_of", "recognised"]

# What else lies in this folder.
_NO_LAYOUTS = frozenset({"grid", "port", "values"})
LAYOUTS = tuple(
    sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name not in _NO_LAYOUTS)
)
# A layout, and the names of a graph's outputs, in their order.
Recognised = tuple[str, list[str]]


def layout_of(name: str) -> Layout:
    """The layout of that name."""
    layout: Layout = import_module(f"{__name__}.{name}").LAYOUT
    return layout


def recognised(shapes: Sequence[Sequence[int | None]], canvas: Size) -> list[Recognised]:
    """The layouts that a graph may have by the shapes of its outputs, for one image each.

    ``shapes``: see ``Layout.names``. There may be several, of which a run leaves one: see
    ``confirmed``. None of them: the graph is no detector that is known.
    """
    named = ((name, layout_of(name).names(shapes, canvas)) for name in LAYOUTS)
    return [(name, names) for name, names in named if names is not None]


def confirmed(outputs: Sequence[npt.NDArray[Any]], canvas: Size) -> list[Recognised]:
    """The layouts that a graph has by what it gave for a few images, in the order of its outputs.

    Two or more: only somebody who knows the network can tell.
    """
    found = recognised([output.shape[1:] for output in outputs], canvas)
    return [
        (name, names)
        for name, names in found
        if layout_of(name).fits(dict(zip(names, outputs, strict=True)), canvas)
    ]
