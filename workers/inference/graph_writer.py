"""Writing a network as one ONNX graph of ours, layer by layer."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from shared.errors import PermanentError
from shared.fields import Channels
from shared.placement import Size
from workers.inference.calibration import calibration_images
from workers.inference.engines.exported import METADATA_KEY, provenance
from workers.inference.graphs.comparing import answers_alike
from workers.inference.graphs.running import Runnable

_OPSET = 18
_IR_VERSION = 9  # of that opset
# Enough to see one image's numbers in another's answer.
_TRIED_IMAGES = 3
_INPUT = "images"


class GraphWriter:
    """A graph that takes uint8 RGB images of shape (batch, height, width, 3).

    ``pixels`` is the array that the network itself takes: float32 (batch, 3, height, width),
    normalised by ``mean`` and ``std``, which are per RGB channel, of pixels scaled to 0..1.
    """

    def __init__(self, canvas: Size, mean: Channels, std: Channels) -> None:
        self._canvas, self._mean, self._std = canvas, mean, std
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        deviation = np.array(std, np.float32).reshape(1, 3, 1, 1)
        middle = np.array(mean, np.float32).reshape(1, 3, 1, 1)
        planes = self.add("Transpose", [_INPUT], perm=[0, 3, 1, 2])
        scaled = self.add(
            "Mul",
            [
                self.add("Cast", [planes], to=TensorProto.FLOAT),
                self.constant(1 / (255 * deviation)),
            ],
        )
        self.pixels = self.add("Add", [scaled, self.constant(-middle / deviation)])

    def constant(self, values: Any, dtype: npt.DTypeLike = np.float32) -> str:
        """An array that is part of the graph. Returns its name."""
        name = f"constant_{len(self._constants)}"
        array = np.ascontiguousarray(np.asarray(values, dtype))
        self._constants.append(numpy_helper.from_array(array.reshape(np.shape(values)), name))
        return name

    def add(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """An operation on arrays of these names. Returns the name of its result."""
        name = f"array_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def slice(self, array: str, start: int, end: int, axis: int) -> str:
        """The entries from ``start`` to before ``end`` along an axis. Returns the result's name."""
        bounds = [self.constant([number], np.int64) for number in (start, end, axis)]
        return self.add("Slice", [array, *bounds])

    def write(
        self, path: Path, weights_sha256: str, outputs: Mapping[str, tuple[str, tuple[int, ...]]]
    ) -> dict[str, int]:
        """Write the file if the graph works; nothing is written otherwise.

        ``outputs``: by name, the array and its shape for one image. Returns how many numbers each
        has for an image. Raises PermanentError for a graph that does not work.
        """
        width, height = self._canvas
        for name, (array, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [array], [name]))
        takes = helper.make_tensor_value_info(
            _INPUT, TensorProto.UINT8, ["batch", height, width, 3]
        )
        gives = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
            for name, (_, shape) in outputs.items()
        ]
        graph = helper.make_graph(self._nodes, "headrace", [takes], gives, self._constants)
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        baked = provenance(weights_sha256, self._mean, self._std, list(outputs))
        helper.set_model_props(model, {METADATA_KEY: baked})
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            tried = Path(folder) / path.name
            onnx.save(model, tried)
            _require_works(tried, self._canvas, {name: each for name, (_, each) in outputs.items()})
            tried.replace(path)
        return {name: int(np.prod(shape)) for name, (_, shape) in outputs.items()}


def _require_works(path: Path, canvas: Size, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise PermanentError unless each image of a batch gives what it gives alone."""
    graph, images = Runnable(path), calibration_images(canvas, _TRIED_IMAGES)
    expected = graph.run_singly(images)
    for name, shape in shapes.items():
        found = expected[name]
        if found.shape != (len(images), *shape) or not np.isfinite(found).all():
            raise PermanentError(
                "export_fails",
                f"The network gives {name} that are not finite, or not of the shape {shape}.",
                "Take weights from before the training went wrong.",
            )
    if not answers_alike(graph, images, expected, together=True):
        raise PermanentError(
            "export_fails",
            f"The network's {' and '.join(shapes)} of an image depend on the batch it is in.",
            "Export the network to ONNX.",
        )
