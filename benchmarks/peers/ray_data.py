"""Ray Data, as its documentation tunes batch inference: a pool of actors, a batch size."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pyarrow.fs
import ray
from ray.data import ActorPoolStrategy

from benchmarks.peers import decoders
from benchmarks.peers.models import Classifier
from benchmarks.peers.task import Task, task_from_arguments

BATCH_IMAGES = 64


class Actor:
    """Holds the model."""

    def __init__(self, task: Task) -> None:
        self._classify = Classifier(task)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"class": self._classify(np.ascontiguousarray(np.stack(list(batch["image"]))))}


class Decoder:
    """Ours, made once in each process that decodes."""

    def __init__(self) -> None:
        self._decode = decoders.ours()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"image": self._decode(row["bytes"])}


def main() -> None:
    task = task_from_arguments()
    cores = os.cpu_count() or 1
    environment = {"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}}
    ray.init(num_cpus=cores, include_dashboard=False, runtime_env=environment, log_to_driver=False)
    path, files = f"{task.bucket}/{task.prefix}", filesystem(task)
    if task.decoder == "ours":
        images = ray.data.read_binary_files(path, filesystem=files).map(
            Decoder, compute=ActorPoolStrategy(size=1)
        )
    else:
        images = ray.data.read_images(path, filesystem=files, mode="RGB").map(resized)
    classes = images.map_batches(
        Actor,
        fn_constructor_args=(task,),
        batch_size=BATCH_IMAGES,
        num_cpus=1,
        compute=ActorPoolStrategy(size=1),
    )
    for _ in classes.iter_batches(batch_size=BATCH_IMAGES):
        pass


def resized(row: dict[str, Any]) -> dict[str, Any]:
    """An image that Ray has decoded."""
    return {"image": decoders.resized(row["image"])}


def filesystem(task: Task) -> pyarrow.fs.FileSystem:
    """Arrow's own client, which is what Ray reads with."""
    return pyarrow.fs.S3FileSystem(
        access_key=task.store["access_key"],
        secret_key=task.store["secret_key"],
        endpoint_override=task.store["endpoint"],
        scheme="http",
        region=task.store["region"],
    )


if __name__ == "__main__":
    main()
