"""The detector, its head and its view, as all contestants use them: ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers.models import Images, onnxruntime_run
from benchmarks.peers.task import Meter, Task
from shared.analyses.boxes import Boxes
from shared.pipeline import Preprocess
from shared.placement import Size
from shared.views.letterbox import Letterbox
from workers.inference.heads import NetworkOutputs, head_of

SIDE_PIXELS = 416
LAYOUT = "yolox"
VIEW = Letterbox(width=SIDE_PIXELS, height=SIDE_PIXELS, align="top_left")
ASKED = Boxes(model="yolox", view=VIEW)
# An image in the view, and width and height of the original.
Viewed = tuple[Images, Size]


def decoder() -> Callable[[bytes], Viewed]:
    """The decoder of Headrace's preprocess stage, and the detector's view."""
    from workers.preprocess.decode import decode
    from workers.preprocess.resize import resize_into, use_one_thread

    use_one_thread()

    def run(body: bytes) -> Viewed:
        row: Images = np.empty((SIDE_PIXELS, SIDE_PIXELS, 3), np.uint8)
        decoded = decode(body, Preprocess(), (VIEW,))
        size = decoded.width, decoded.height
        resize_into(row, decoded.pixels, VIEW.place(size))
        return row, size

    return run


class Detector:
    """Loaded once by whichever process calls it; notes each run, the head's work included."""

    def __init__(self, task: Task) -> None:
        self._run = onnxruntime_run(task, "boxes")
        self._head = head_of("boxes")
        self._meter = Meter(task.meter)

    def __call__(self, viewed: list[Viewed]) -> list[Any]:
        """The boxes of each image."""
        images = np.stack([image for image, _ in viewed])
        started = time.time()
        (boxes,) = self._run(images)
        outputs = NetworkOutputs({"boxes": boxes}, LAYOUT, VIEW.canvas)
        answered = self._head.answers(ASKED, outputs, (), [size for _, size in viewed])
        self._meter.note(started, len(images))
        found: list[Any] = answered.values.to_pylist()
        return found
