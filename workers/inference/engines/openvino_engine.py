"""Exported models in OpenVINO, on the CPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.model import EngineName, Model, Precision
from shared.placement import Size
from workers.inference.engines.core_pool import (
    SLICE_IMAGES,
    Arrays,
    CorePool,
    Run,
    groups_and_threads,
)
from workers.inference.engines.exported import METADATA_KEY, require_exported_for
from workers.inference.engines.port import Images, Outputs
from workers.inference.errors import HostUnable, load_error

# Importing OpenVINO reports that to its makers, unless this package is not there.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402
from openvino import opset13  # noqa: E402

# OpenVINO's names, as a hint and as a capability of the CPU.
_NAMES: dict[Precision, tuple[str, str]] = {
    "float32": ("f32", "FP32"),
    "bfloat16": ("bf16", "BF16"),
    "float16": ("f16", "FP16"),
}


class OpenVinoEngine:
    """A graph that takes uint8 NHWC images and has the normalisation inside.

    Raises PermanentError where the graph was not exported for this model and image size, OpenVINO
    cannot compute it, or the CPU not in the precision: OpenVINO would then take another.
    """

    name: EngineName = "openvino"
    precision: Precision | None
    device = "cpu"

    def __init__(self, model: Model, path: Path, canvas: Size, precision: Precision) -> None:
        hint, capability = _NAMES[precision]
        core = openvino.Core()
        if capability not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise HostUnable(
                f"OpenVINO does not compute in {precision} on this CPU.",
                "Choose precision: float32.",
            )
        with _said_as_ours(model.name):
            graph = core.read_model(path)
        where = ["framework", METADATA_KEY]
        found = graph.get_rt_info(where).astype(str) if graph.has_rt_info(where) else None
        batch, *sides = graph.input().partial_shape
        shape = [side.get_length() for side in sides]
        require_exported_for(model, canvas, found, shape)
        _give(graph, model.outputs, precision)
        groups, threads = groups_and_threads()
        options = {
            "INFERENCE_PRECISION_HINT": hint,
            "NUM_STREAMS": groups,
            "INFERENCE_NUM_THREADS": groups * threads,
            "ENABLE_CPU_PINNING": False,  # decoders need the same cores
        }
        with _said_as_ours(model.name):
            compiled = core.compile_model(graph, "CPU", options)
            requests = [compiled.create_infer_request() for _ in range(groups)]
        self.precision = precision
        runs = [_run_of(request, compiled.outputs) for request in requests]
        self._cores = CorePool(runs, SLICE_IMAGES if batch.is_dynamic else 1)

    def run(self, images: Images) -> Outputs:
        """The arrays of ``Model.outputs``, in float32."""
        return self._cores.run(images)

    def close(self) -> None:
        """Drop the requests, and with them the graph."""
        self._cores.close()


@contextmanager
def _said_as_ours(name: str) -> Iterator[None]:
    """OpenVINO raises RuntimeError, such as for an operator that it does not know."""
    try:
        yield
    except RuntimeError as error:
        raise load_error(name, error) from error


def _give(graph: Any, names: Sequence[str], precision: Precision) -> None:
    """Have the graph give the arrays of these names, in their order, and no others.

    An array that other layers read, too, stays in the precision: as float32, OpenVINO would compute
    the layers before it in float32, and the scores would be others than without it.
    """
    given: dict[str, Any] = {}
    for result in graph.get_results():
        source = result.input_value(0)
        given |= dict.fromkeys(source.get_names(), source)
        graph.remove_result(result)
    for name in names:
        is_last = not given[name].get_target_inputs()
        kept = given[name] if is_last else opset13.convert(given[name], _NAMES[precision][0])
        graph.add_results([opset13.result(kept)])


def _run_of(request: Any, outputs: Sequence[Any]) -> Run:
    def infer(images: Images) -> Arrays:
        given = request.infer([images])
        return tuple(_float32(given[output], output.element_type) for output in outputs)

    return infer


def _float32(array: npt.NDArray[Any], element_type: Any) -> npt.NDArray[np.float32]:
    """A copy, since the request writes into its own array again."""
    if element_type == openvino.Type.bf16:  # numpy has no such type: it is float32's upper half
        return (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return np.array(array, dtype=np.float32)
