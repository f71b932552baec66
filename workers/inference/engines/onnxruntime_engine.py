"""Exported models in ONNX Runtime, float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from shared.model import EngineName, Model, Precision
from shared.placement import Size
from workers.inference.engines.core_pool import (
    SLICE_IMAGES,
    Arrays,
    CorePool,
    groups_and_threads,
)
from workers.inference.engines.exported import METADATA_KEY, require_exported_for
from workers.inference.engines.hardware import CUDA_PROVIDER, runs_graphs_on_cuda
from workers.inference.engines.port import Images, Outputs

_ERRORS_ONLY = 3


class OnnxRuntimeEngine:
    """A graph that takes uint8 NHWC images and has the normalisation inside.

    Raises PermanentError where the graph was not exported for this model and image size.
    """

    name: EngineName = "onnxruntime"
    precision: Precision | None = "float32"

    def __init__(self, model: Model, path: Path, canvas: Size) -> None:
        options = onnxruntime.SessionOptions()
        groups, options.intra_op_num_threads = groups_and_threads()
        # Spinning burns the cores that decoders need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _ERRORS_ONLY
        cuda = [CUDA_PROVIDER] if runs_graphs_on_cuda() else []
        providers = [*cuda, "CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(path, options, providers)
        found = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        batch, *shape = session.get_inputs()[0].shape
        require_exported_for(model, canvas, found, shape)
        self._takes_one = batch == 1
        self.device = "cuda:0" if CUDA_PROVIDER in session.get_providers() else "cpu"
        self._outputs = list(model.outputs)
        self._input = session.get_inputs()[0].name
        self._session: Any = session
        self._cores = CorePool([self._infer] * groups, 1 if self._takes_one else SLICE_IMAGES)

    def run(self, images: Images) -> Outputs:
        """The arrays of ``Model.outputs``, in float32."""
        if self.device == "cpu":
            return self._cores.run(images)
        if not self._takes_one:
            return self._infer(images)
        singles = [self._infer(images[number : number + 1]) for number in range(len(images))]
        return tuple(map(np.concatenate, zip(*singles, strict=True)))

    def _infer(self, images: Images) -> Arrays:
        given = self._session.run(self._outputs, {self._input: images})
        return tuple(np.asarray(array, dtype=np.float32) for array in given)

    def close(self) -> None:
        """Drop the session."""
        self._cores.close()
        self._session = None
