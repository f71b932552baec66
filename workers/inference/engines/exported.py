"""Exported graphs: whether one is what a pipeline needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from shared.catalog.published import bring_again
from shared.errors import PermanentError
from shared.fields import Channels
from shared.model import Model
from shared.placement import Size

METADATA_KEY = "headrace"


def provenance(weights_sha256: str, mean: Channels, std: Channels, outputs: Sequence[str]) -> str:
    """What an exported graph has baked in; it is written into the file and compared at load."""
    return json.dumps({**_baked(weights_sha256, mean, std), "outputs": list(outputs)})


def _baked(weights_sha256: str, mean: Channels, std: Channels) -> dict[str, Any]:
    return {"weights": weights_sha256, "mean": list(mean), "std": list(std)}


def require_exported_for(
    model: Model, canvas: Size, found: str | None, shape: Sequence[int]
) -> None:
    """Raise PermanentError unless a graph was exported for this model and size of images.

    The graph may have more outputs than the model's. ``found`` is its provenance, ``shape`` that
    of one image that it takes: height, width, 3.
    """
    baked = _parsed(found)
    has = baked.pop("outputs", [])
    missing = [name for name in model.outputs if name not in has]
    width, height = canvas
    if baked != _baked(model.sha256, model.mean, model.std):
        reason = "was exported from other weights or with another mean and std"
    elif missing:
        reason = f"has no output '{missing[0]}'"
    elif list(shape) != [height, width, 3]:
        reason = f"takes images of {shape[1]}x{shape[0]} and the pipeline makes {width}x{height}"
    else:
        return
    raise PermanentError(
        "wrong_export",
        f"model.onnx of '{model.name}' {reason}.",
        bring_again(model.name),
    )


def _parsed(found: str | None) -> dict[str, Any]:
    try:
        given = json.loads(found or "")
    except ValueError:
        return {}
    return given if isinstance(given, dict) else {}
