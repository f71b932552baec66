"""A plain script that detects with the default model's own file, and shares no code with Headrace.

OpenVINO reads the frozen graph, one image at a time; Pillow and torchvision do the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from openvino import opset13
from openvino.frontend.tensorflow import ConversionExtension
from PIL import Image, ImageOps
from torchvision.ops import batched_nms

from benchmarks.detection.plain import Found

SIDE_PIXELS = 320
SCALES = (10.0, 5.0)  # of centres and of sizes


class PlainSsd:
    """SSD-MobileNetV3 by ``frozen_inference_graph.pb``: RGB from -1 to 1, class 0 is nothing."""

    def __init__(self, weights: Path, *, min_score: float, overlap: float, most: int) -> None:
        core = openvino.Core()
        core.add_extension(ConversionExtension("TFLite_Detection_PostProcess", _joined))
        graph = core.read_model(weights)
        self._run: Any = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._min_score, self._overlap, self._most = min_score, overlap, most

    def __call__(self, path: Path) -> Found:
        """The boxes of one image, in its own pixels."""
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        resized = image.resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.BILINEAR)
        given = self._run([np.asarray(resized, np.float32)[None] / 127.5 - 1])
        codes, scores, anchors = np.split(given[0][0], (4, -4), axis=1)
        centre = codes[:, :2] / SCALES[0] * anchors[:, 2:] + anchors[:, :2]
        half = np.exp(codes[:, 2:] / SCALES[1]) * anchors[:, 2:] / 2
        boxes = np.concatenate([centre - half, centre + half], 1)[:, [1, 0, 3, 2]].clip(0, 1)
        boxes *= [*image.size, *image.size]
        place, label = np.nonzero(scores[:, 1:] >= self._min_score)
        best = scores[place, label + 1]
        tensors = map(torch.from_numpy, (boxes[place].astype(np.float32), best, label))
        kept = batched_nms(*tensors, self._overlap)[: self._most].tolist()
        return [(*boxes[place[n]].tolist(), float(best[n]), int(label[n])) for n in kept]


def _joined(node: Any) -> list[Any]:
    """What the file's last node is given, side by side: codes of boxes, scores and anchors."""
    codes, scores, anchors = (node.get_input(number) for number in range(3))
    joined = opset13.concat([codes, scores, opset13.unsqueeze(anchors, 0)], 2)
    return list(joined.outputs())
