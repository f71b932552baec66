"""The layouts that a graph has by its outputs, as the format ``onnx`` finds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from shared.placement import Size
from workers.inference.graphs.detectors import layouts_by_shape
from workers.inference.graphs.wrapping import Output


def outputs_of(shapes: Sequence[Sequence[int | None]]) -> list[Output]:
    """Outputs of a graph, by their shapes for one image."""
    return [Output(str(n), str(n), tuple(shape)) for n, shape in enumerate(shapes)]


def layouts_by_run(arrays: Sequence[npt.NDArray[Any]], canvas: Size) -> list[tuple[str, list[str]]]:
    """The layouts that arrays of a few images fit, with the names of the arrays in each."""
    outputs = outputs_of([array.shape[1:] for array in arrays])
    found = []
    for known in layouts_by_shape(outputs, canvas, None):
        named = {out.name: arrays[int(out.source)] for out in known.outputs}
        if known.layout.fits(named, canvas):
            found.append((known.name, list(named)))
    return found
