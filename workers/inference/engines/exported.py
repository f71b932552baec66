"""Exported graphs: whether one is what a pipeline needs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from shared.errors import PermanentError
from shared.model import Model

METADATA_KEY = "headrace"


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
