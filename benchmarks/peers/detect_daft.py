"""Daft, for detection: a data frame with a class that holds the detector."""

from __future__ import annotations

from typing import Any

import daft
from daft import DataType, Series, col

from benchmarks.peers.daft_frame import BATCH_IMAGES, images_of
from benchmarks.peers.detector import Detector, decoder
from benchmarks.peers.task import Task, task_from_arguments


@daft.cls(max_concurrency=1)
class Model:
    """Detects in what is fetched."""

    def __init__(self, task: Task) -> None:
        self._detect = Detector(task)
        self._decode = decoder()

    @daft.method.batch(return_dtype=DataType.int64(), batch_size=BATCH_IMAGES)  # type: ignore[untyped-decorator]
    def boxes(self, images: Series) -> Any:
        """How many each has."""
        return [len(found) for found in self._detect(list(map(self._decode, images.to_pylist())))]


def main() -> None:
    task = task_from_arguments()
    frame, images = images_of(task)
    model: Any = Model(task)
    frame = frame.with_column("image", images).with_column("boxes", model.boxes(col("image")))
    frame.select("path", "boxes").collect()


if __name__ == "__main__":
    main()
