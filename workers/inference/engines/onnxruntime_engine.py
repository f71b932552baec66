"""Exported models in ONNX Runtime, float32: the fastest on a CPU that we have measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from shared.errors import PermanentError
from shared.pipeline import EngineName, Model, Precision
from workers.inference.engines.hardware import cores
from workers.inference.engines.port import Images, Outputs

METADATA_KEY = "headrace"
_CUDA = "CUDAExecutionProvider"
_ERRORS_ONLY = 3


def provenance(weights_sha256: str, mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    """What an exported graph has baked in; it is written into the file and compared at load."""
    return json.dumps({"weights": weights_sha256, "mean": list(mean), "std": list(std)})


class OnnxRuntimeEngine:
    """A graph that takes uint8 NHWC images and has the normalisation inside.

    Raises PermanentError where the graph was not exported for this model and image size.
    """

    name: EngineName = "onnxruntime"
    precision: Precision | None = "float32"

    def __init__(self, model: Model, path: Path, image_pixels: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        # Spinning burns the cores that decoders need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _ERRORS_ONLY
        cuda = _CUDA in onnxruntime.get_available_providers()
        providers = [*([_CUDA] if cuda else []), "CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(path, options, providers)
        _check(session, model, image_pixels)
        self.device = "cuda:0" if _CUDA in session.get_providers() else "cpu"
        self._input = session.get_inputs()[0].name
        self._session: Any = session

    def run(self, images: Images) -> Outputs:
        """Logits, float32 of shape (images, classes)."""
        (logits,) = self._session.run(None, {self._input: images})
        return np.asarray(logits, dtype=np.float32)

    def close(self) -> None:
        """Drop the session."""
        self._session = None


def _check(session: Any, model: Model, image_pixels: int) -> None:
    found = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    shape = session.get_inputs()[0].shape
    if found != provenance(model.sha256, model.mean, model.std):
        reason = "was exported from other weights or with another mean and std"
    elif shape[1:] != [image_pixels, image_pixels, 3]:
        reason = f"takes images of {shape[1]}x{shape[2]} and the pipeline makes {image_pixels}"
    else:
        return
    raise PermanentError(
        "wrong_export",
        f"model.onnx of '{model.name}' {reason}.",
        f"Run 'headrace models pull {model.name}' again, or choose engine: torch.",
    )
