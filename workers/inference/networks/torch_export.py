"""Networks of torch as ONNX graphs, compared with torch before they are kept."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from shared.errors import PermanentError
from shared.placement import Size
from workers.inference.engines.exported import METADATA_KEY
from workers.inference.graphs.comparing import answers_alike
from workers.inference.graphs.running import Runnable
from workers.inference.networks.normalised import Normalised

_TRIED_IMAGES = 5

Images = npt.NDArray[np.uint8]


def try_network(module: Normalised, architecture: str, canvas: Size) -> dict[str, int]:
    """Run it once. Returns how many numbers each of its outputs has for an image.

    Raises PermanentError where it takes no images of that size, or gives infinite numbers.
    """
    try:
        outputs = _run(module, _noise(1, canvas))
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        width, height = canvas
        raise PermanentError(
            "wrong_size",
            f"torchvision's {architecture} takes no images of {width}x{height} pixels.",
            "Leave the size out to have the usual one.",
        ) from error
    for name, array in outputs.items():
        if not np.isfinite(array).all():
            raise PermanentError(
                "bad_weights",
                f"The network's {name} are not finite, for its weights are not or are too large.",
                "Take weights from before the training went wrong.",
            )
    return {name: array[0].size for name, array in outputs.items()}


def write_graph(module: Normalised, provenance: str, canvas: Size, output: Path) -> None:
    """Write ``output`` if it gives the same answers as torch; nothing is written otherwise.

    ``canvas``: width and height of the images, of which the module has had some. ``provenance``:
    for the metadata. Raises PermanentError for a graph that answers differently.
    """
    width, height = canvas
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        tried = Path(folder) / output.name
        program: Any = torch.onnx.export(
            module,
            (torch.zeros((2, height, width, 3), dtype=torch.uint8),),
            input_names=["images"],
            output_names=list(module.outputs),
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
        program.model.metadata_props[METADATA_KEY] = provenance
        program.save(tried, external_data=False)
        _compare(module, tried, canvas)
        tried.replace(output)


def _compare(module: Normalised, path: Path, canvas: Size) -> None:
    graph = Runnable(path)
    images = _noise(_TRIED_IMAGES, canvas)
    expected = _run(module, images)
    if not all(answers_alike(graph, images, expected, together=each) for each in (True, False)):
        raise PermanentError(
            "export_differs",
            "The graph that torch exports gives different answers from the network.",
            "Write a class that runs it.",
        )


def _run(module: Normalised, images: Images) -> dict[str, npt.NDArray[Any]]:
    with torch.inference_mode():
        given = module(torch.from_numpy(images))
    return {name: array.numpy() for name, array in zip(module.outputs, given, strict=True)}


def _noise(count: int, canvas: Size) -> Images:
    width, height = canvas
    return np.random.default_rng(count).integers(0, 256, (count, height, width, 3), np.uint8)
