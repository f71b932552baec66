"""Writes a user's graph as one of ours, once runs have shown that it gives the same answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import helper

from shared.errors import PermanentError
from shared.placement import Size
from workers.inference.engines.exported import METADATA_KEY
from workers.inference.engines.port import Images
from workers.inference.graphs.batch import free_batch
from workers.inference.graphs.comparing import TOLERANCE, answers_alike
from workers.inference.graphs.images import ImageInput, Pixels
from workers.inference.graphs.outputs import as_given
from workers.inference.graphs.refusals import refused
from workers.inference.graphs.running import Runnable, one_by_one
from workers.inference.graphs.wrapping import Output, wrap

# float16 has three digits.
_TOLERANCE = {"float16": 1e-2}


@dataclass(frozen=True, slots=True)
class Wrapping:
    """How a graph becomes ours. ``provenance``: for its metadata."""

    taken: ImageInput
    canvas: Size
    pixels: Pixels
    outputs: tuple[Output, ...]
    provenance: str

    def write(self, plain: Path, path: Path, *, batch: int | None) -> None:
        """Write the graph of the file ``plain`` as one of ours."""
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
    runs = one_by_one(Runnable(plain), images, wrapping.taken, wrapping.pixels)
    expected = {
        out.name: as_given(out, [run[out.source] for run in runs]) for out in wrapping.outputs
    }
    tolerance = _TOLERANCE.get(wrapping.taken.dtype, TOLERANCE)
    tried = plain.with_name("tried.onnx")
    may_batch = wrapping.taken.is_batched and not any(
        out.depends_on_image or not out.is_batched for out in wrapping.outputs
    )
    for together in (True, False) if may_batch else (False,):
        wrapping.write(plain, tried, batch=None if together else 1)
        try:
            graph = Runnable(tried)
            is_alike = answers_alike(
                graph, images, expected, together=together, tolerance=tolerance
            )
        except PermanentError:
            if not together:
                raise
            continue
        if is_alike:
            tried.replace(output)
            return not together
    raise refused(
        "The converted graph gives different answers from the original.",
        "Export it again, or write a class that runs it.",
    )
