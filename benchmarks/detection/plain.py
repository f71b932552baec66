"""A plain script that detects with the same graph, and shares no code with Headrace.

What somebody would write for it: Pillow, one image at a time, torchvision's suppression.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from PIL import Image, ImageOps
from torchvision.ops import batched_nms

SIDE_PIXELS, PAD = 416, 114
STRIDES = (8, 16, 32)
# x1, y1, x2, y2, score and class of each.
Found = list[tuple[float, float, float, float, float, int]]


class PlainScript:
    """YOLOX with its published weights. It takes BGR pixels of 0 to 255 and gives raw grid rows."""

    def __init__(self, weights: Path, *, min_score: float, overlap: float, most: int) -> None:
        self._session = onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._min_score, self._overlap, self._most = min_score, overlap, most
        cells = [SIDE_PIXELS // stride for stride in STRIDES]
        grids = [np.stack(np.meshgrid(range(n), range(n)), 2).reshape(-1, 2) for n in cells]
        self._grid = np.concatenate(grids)
        self._stride = np.repeat(STRIDES, [n * n for n in cells])[:, None]

    def __call__(self, path: Path) -> Found:
        """The boxes of one image, in its own pixels."""
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        ratio = min(SIDE_PIXELS / image.width, SIDE_PIXELS / image.height)
        size = (int(image.width * ratio), int(image.height * ratio))
        canvas = np.full((SIDE_PIXELS, SIDE_PIXELS, 3), PAD, np.float32)
        resized = image.resize(size, Image.Resampling.BILINEAR)
        canvas[: size[1], : size[0]] = np.asarray(resized, np.float32)
        pixels = np.ascontiguousarray(canvas[:, :, ::-1].transpose(2, 0, 1)[None])
        (rows,) = self._session.run(None, {self._input: pixels})[0]
        return self._boxes(rows, ratio, image.size)

    def _boxes(self, rows: npt.NDArray[Any], ratio: float, size: tuple[int, int]) -> Found:
        centre = (rows[:, :2] + self._grid) * self._stride
        half = np.exp(rows[:, 2:4]) * self._stride / 2
        boxes = np.concatenate([centre - half, centre + half], 1) / ratio
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, size[0])
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, size[1])
        scores = rows[:, 5:] * rows[:, 4:5]
        place, label = np.nonzero(scores >= self._min_score)
        best = scores[place, label]
        given = (boxes[place].astype(np.float32), best, label)
        kept = batched_nms(*map(torch.from_numpy, given), self._overlap)[: self._most]
        found: Found = []
        for number in kept.tolist():
            x1, y1, x2, y2 = boxes[place[number]].tolist()
            found.append((x1, y1, x2, y2, float(best[number]), int(label[number])))
        return found
