"""Exported models in ONNX Runtime, float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from shared.model import EngineName, Model, Precision
from workers.inference.engines.core_pool import CorePool, groups_and_threads
from workers.inference.engines.exported import METADATA_KEY, require_exported_for
from workers.inference.engines.port import Images, Outputs

_CUDA = "CUDAExecutionProvider"
_ERRORS_ONLY = 3


class OnnxRuntimeEngine:
    """A graph that takes uint8 NHWC images and has the normalisation inside.

    Raises PermanentError where the graph was not exported for this model and image size.
    """

    name: EngineName = "onnxruntime"
    precision: Precision | None = "float32"

    def __init__(self, model: Model, path: Path, image_pixels: int) -> None:
        options = onnxruntime.SessionOptions()
        groups, options.intra_op_num_threads = groups_and_threads()
        # Spinning burns the cores that decoders need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _ERRORS_ONLY
        cuda = _CUDA in onnxruntime.get_available_providers()
        providers = [*([_CUDA] if cuda else []), "CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(path, options, providers)
        found = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        require_exported_for(model, image_pixels, found, session.get_inputs()[0].shape[1:])
        self.device = "cuda:0" if _CUDA in session.get_providers() else "cpu"
        self._input = session.get_inputs()[0].name
        self._session: Any = session
        self._cores = CorePool([self._infer] * groups)

    def run(self, images: Images) -> Outputs:
        """Logits, float32 of shape (images, classes)."""
        return self._cores.run(images) if self.device == "cpu" else self._infer(images)

    def _infer(self, images: Images) -> npt.NDArray[np.float32]:
        (logits,) = self._session.run(None, {self._input: images})
        return np.asarray(logits, dtype=np.float32)

    def close(self) -> None:
        """Drop the session."""
        self._cores.close()
        self._session = None
