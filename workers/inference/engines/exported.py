"""Exported graphs: whether one is what a pipeline needs, and how a CPU runs it fastest."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from shared.errors import PermanentError
from shared.pipeline import Model
from workers.inference.engines.port import Images, Outputs

METADATA_KEY = "headrace"
# Of few images a CPU's caches keep what one layer gives until the next one reads it. Measured:
# benchmarks/NOTES.md.
CPU_SLICE_IMAGES = 4


def provenance(weights_sha256: str, mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    """What an exported graph has baked in; it is written into the file and compared at load."""
    return json.dumps({"weights": weights_sha256, "mean": list(mean), "std": list(std)})


def require_exported_for(
    model: Model, image_pixels: int, found: str | None, shape: Sequence[int]
) -> None:
    """Raise PermanentError unless a graph was exported for this model and image size.

    ``found`` is the graph's provenance, ``shape`` that of one image which it takes.
    """
    if found != provenance(model.sha256, model.mean, model.std):
        reason = "was exported from other weights or with another mean and std"
    elif list(shape) != [image_pixels, image_pixels, 3]:
        reason = f"takes images of {shape[0]}x{shape[1]} and the pipeline makes {image_pixels}"
    else:
        return
    raise PermanentError(
        "wrong_export",
        f"model.onnx of '{model.name}' {reason}.",
        f"Run 'headrace models pull {model.name}' again, or choose engine: torch.",
    )


def in_slices(run: Callable[[Images], npt.NDArray[np.float32]], images: Images) -> Outputs:
    """What ``run``, which keeps no view of its images, gives for all of them."""
    firsts = range(0, len(images), CPU_SLICE_IMAGES)
    return np.concatenate([run(images[first : first + CPU_SLICE_IMAGES]) for first in firsts])
