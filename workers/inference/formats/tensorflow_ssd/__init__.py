"""Detectors of TensorFlow's Object Detection API: SSDs in a frozen graph, as made for TFLite.

It is read without TensorFlow. Its input of one image becomes one of any number of images, and what
chooses among the boxes is left out: the head does it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shared.catalog.exports import ExportedModel, ExportRequest, ModelInput
from shared.errors import PermanentError
from shared.fields import Channels
from shared.views.stretch import Stretch
from workers.inference.formats.tensorflow_ssd.detector import find_detector, write_detector
from workers.inference.formats.tensorflow_ssd.frozen_graph import read_nodes
from workers.inference.formats.tensorflow_ssd.layers import UnknownOperation
from workers.inference.formats.tensorflow_ssd.wire import Malformed
from workers.inference.graph_writer import GraphWriter

# Pixels from -1 to 1.
_USUAL: Channels = (0.5, 0.5, 0.5)


class TensorflowSsd:
    """Reads a ``GraphDef`` whose end is ``TFLite_Detection_PostProcess``."""

    options = frozenset[str]()

    def is_format_of(self, weights: Path) -> bool:
        """See ``Format``."""
        return weights.suffix.lower() == ".pb"

    def export(self, request: ExportRequest) -> ExportedModel:
        """See ``Format``."""
        name = request.weights.name
        try:
            return _export(request)
        except Malformed as error:
            raise PermanentError(
                "bad_frozen_graph",
                f"{name} is not a frozen detector that can be read: {error}.",
                "Take an SSD's frozen_inference_graph.pb, as export_tflite_ssd_graph.py writes it.",
            ) from error
        except UnknownOperation as error:
            raise PermanentError(
                "unknown_operation",
                f"{name} has the operation {str(error)[:100]}, which is not converted.",
                "Convert it to ONNX with tf2onnx, and add that.",
            ) from error


def _export(request: ExportRequest) -> ExportedModel:
    nodes = read_nodes(request.weights)
    detector = find_detector(nodes)
    width, height = detector.canvas
    view = request.view or Stretch(width=width, height=height)
    if view.canvas != detector.canvas:
        raise Malformed(
            f"it takes {width} × {height} pixels, and not {' × '.join(map(str, view.canvas))}"
        )
    mean, std = request.mean or _USUAL, request.std or _USUAL
    writer = GraphWriter(detector.canvas, mean, std)
    with np.errstate(all="ignore"):  # what is not finite is refused when the graph has run
        outputs = write_detector(detector, nodes, writer)
    return ExportedModel(
        format="tensorflow_ssd",
        layout="boxes_and_scores",
        view=view,
        mean=mean,
        std=std,
        outputs=writer.write(request.output, request.sha256, outputs),
        classes=detector.classes,
        inputs=(ModelInput(name="images", dtype="float32", shape=(1, height, width, 3)),),
    )


FORMAT = TensorflowSsd()
