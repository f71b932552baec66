"""Exported models in OpenVINO, on the CPU."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.model import EngineName, Model, Precision
from workers.inference.engines.core_pool import CorePool, Run, groups_and_threads
from workers.inference.engines.exported import METADATA_KEY, require_exported_for
from workers.inference.engines.port import Images, Outputs
from workers.inference.errors import HostUnable

# Importing OpenVINO reports that to its makers, unless this package is not there.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402

# OpenVINO's names, as a hint and as a capability of the CPU.
_NAMES: dict[Precision, tuple[str, str]] = {
    "float32": ("f32", "FP32"),
    "bfloat16": ("bf16", "BF16"),
    "float16": ("f16", "FP16"),
}


class OpenVinoEngine:
    """A graph that takes uint8 NHWC images and has the normalisation inside.

    Raises PermanentError where the graph was not exported for this model and image size, or the
    CPU does not compute in the precision: OpenVINO would then take another.
    """

    name: EngineName = "openvino"
    precision: Precision | None
    device = "cpu"

    def __init__(self, model: Model, path: Path, image_pixels: int, precision: Precision) -> None:
        hint, capability = _NAMES[precision]
        core = openvino.Core()
        if capability not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise HostUnable(
                f"OpenVINO does not compute in {precision} on this CPU.",
                "Choose engine: torch, or precision: float32.",
            )
        graph = core.read_model(path)
        where = ["framework", METADATA_KEY]
        found = graph.get_rt_info(where).astype(str) if graph.has_rt_info(where) else None
        shape = [dimension.get_length() for dimension in list(graph.input().partial_shape)[1:]]
        require_exported_for(model, image_pixels, found, shape)
        groups, threads = groups_and_threads()
        compiled = core.compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": hint,
                "NUM_STREAMS": groups,
                "INFERENCE_NUM_THREADS": groups * threads,
                "ENABLE_CPU_PINNING": False,  # decoders need the same cores
            },
        )
        self.precision = precision
        self._cores = CorePool([_run_of(compiled.create_infer_request()) for _ in range(groups)])

    def run(self, images: Images) -> Outputs:
        """Logits, float32 of shape (images, classes)."""
        return self._cores.run(images)

    def close(self) -> None:
        """Drop the requests, and with them the graph."""
        self._cores.close()


def _run_of(request: Any) -> Run:
    def infer(images: Images) -> npt.NDArray[np.float32]:
        answer = request.infer([images])
        return np.array(answer[0], dtype=np.float32)  # the request writes into its own again

    return infer
