"""Daft: a data frame with a class that holds the model."""

from __future__ import annotations

from typing import Any

import daft
import numpy as np
from daft import DataType, Series, col
from daft.io import IOConfig, S3Config

from benchmarks.peers import decoders
from benchmarks.peers.models import Classifier
from benchmarks.peers.task import Task, task_from_arguments

BATCH_IMAGES = 64


@daft.cls(max_concurrency=1)
class Model:
    """Classifies what is decoded."""

    def __init__(self, task: Task) -> None:
        self._classify = Classifier(task)
        self._decode = decoders.ours() if task.decoder == "ours" else decoders.resized

    @daft.method.batch(return_dtype=DataType.int64(), batch_size=BATCH_IMAGES)  # type: ignore[untyped-decorator]
    def classes(self, images: Series) -> Any:
        """The class of each."""
        decode: Any = self._decode
        pixels = np.stack([decode(image) for image in images.to_pylist()])
        return self._classify(pixels).tolist()


def images_of(task: Task) -> tuple[daft.DataFrame, Any]:
    """A frame of the paths, and the bytes of the images."""
    store = S3Config(
        endpoint_url=task.endpoint_url,
        key_id=task.store["access_key"],
        access_key=task.store["secret_key"],
        region_name=task.store["region"],
        use_ssl=False,
        force_virtual_addressing=False,
    )
    config = IOConfig(s3=store)
    frame = daft.from_glob_path(f"s3://{task.bucket}/{task.prefix}**", io_config=config)
    return frame, col("path").download(io_config=config)


def main() -> None:
    task = task_from_arguments()
    frame, images = images_of(task)
    if task.decoder != "ours":
        images = images.decode_image(mode="RGB")
    model: Any = Model(task)
    frame = frame.with_column("image", images).with_column("class", model.classes(col("image")))
    frame.select("path", "class").collect()


if __name__ == "__main__":
    main()
