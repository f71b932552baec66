"""Writes a user's graph as one of ours, once runs have shown that it answers alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
from onnx import helper

from shared.errors import PermanentError
from shared.placement import Size
from workers.inference.engines.exported import METADATA_KEY
from workers.inference.engines.port import Images
from workers.inference.graphs.batch import free_batch
from workers.inference.graphs.images import ImageInput, Pixels
from workers.inference.graphs.outputs import as_given
from workers.inference.graphs.refusals import refused
from workers.inference.graphs.running import (
    Runnable,
    are_mixed,
    one_by_one,
    worst_difference,
)
from workers.inference.graphs.wrapping import Output, wrap

# The same operators on the same numbers; float16 has three digits.
_TOLERANCE = {"float32": 1e-3, "float16": 1e-2, "uint8": 1e-3}


@dataclass(frozen=True, slots=True)
class Wrapping:
    """How a graph becomes ours. ``provenance``: what its metadata say of it."""

    taken: ImageInput
    canvas: Size
    pixels: Pixels
    outputs: tuple[Output, ...]
    provenance: str

    def write(self, plain: Path, path: Path, *, batch: int | None) -> None:
        """Write what the file ``plain`` has as a graph of ours."""
        model = onnx.load_model(plain, load_external_data=False)
        if batch is None:
            free_batch(model.graph, self.taken.name)
        wrap(model, self.taken, self.canvas, self.pixels, self.outputs, batch=batch)
        helper.set_model_props(model, {METADATA_KEY: self.provenance})
        path.write_bytes(model.SerializeToString())


def write_proven(plain: Path, wrapping: Wrapping, images: Images, output: Path) -> bool:
    """Write ``output``, for any number of images where that gives what single ones do.

    Returns whether it takes one image alone. Raises PermanentError where even that differs.
    """
    expected = one_by_one(Runnable(plain), images, wrapping.taken, wrapping.pixels)
    tried = plain.with_name("tried.onnx")
    may_batch = wrapping.taken.is_batched and not any(
        out.depends_on_image or not out.is_batched for out in wrapping.outputs
    )
    for batch in (None, 1) if may_batch else (1,):
        wrapping.write(plain, tried, batch=batch)
        try:
            answers_alike = _answers_alike(Runnable(tried), wrapping, images, expected, batch)
        except PermanentError:
            if batch == 1:
                raise
            continue
        if answers_alike:
            tried.replace(output)
            return batch == 1
    raise refused(
        "The graph answers differently as part of ours.",
        "Export it again, or write a class that runs it.",
    )


def _answers_alike(
    graph: Runnable,
    wrapping: Wrapping,
    images: Images,
    expected: list[dict[str, npt.NDArray[Any]]],
    batch: int | None,
) -> bool:
    """Whether it gives for the images what the user's graph gave for each of them alone."""
    if batch is None:
        given = graph.run(images)
        found = {name: list(array) for name, array in given.items()}
    else:
        runs = [graph.run(images[number : number + 1]) for number in range(len(images))]
        found = {name: [run[name][0] for run in runs] for name in graph.names}
    for output in wrapping.outputs:
        wanted = list(as_given(output, [run[output.source] for run in expected]))
        got = found[output.name]
        if len(got) != len(wanted):
            return False
        if worst_difference(got, wanted) >= _TOLERANCE[wrapping.taken.dtype]:
            return False
        if batch is None and are_mixed(got, wanted):
            return False
    return True
