"""A loop written by hand: threads fetch and decode, the main thread runs the model."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import boto3
import numpy as np
from botocore.config import Config

from benchmarks.peers import decoders
from benchmarks.peers.models import Classifier, Images
from benchmarks.peers.task import Task, task_from_arguments

BATCH_IMAGES = 64
THREADS = 8
AHEAD_BATCHES = 2


def client(task: Task) -> Any:
    """A client for as many connections as there are threads."""
    return boto3.client(
        "s3",
        endpoint_url=task.endpoint_url,
        aws_access_key_id=task.store["access_key"],
        aws_secret_access_key=task.store["secret_key"],
        region_name=task.store["region"],
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=THREADS),
    )


def keys(s3: Any, task: Task) -> Iterator[str]:
    """Every key under the prefix."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=task.bucket, Prefix=task.prefix)
    for page in pages:
        yield from (entry["Key"] for entry in page.get("Contents", []))


def main() -> None:
    task = task_from_arguments()
    s3, classify = client(task), Classifier(task)
    decode = decoders.ours() if task.decoder == "ours" else decoders.by_pillow

    def load(key: str) -> Any:
        return decode(s3.get_object(Bucket=task.bucket, Key=key)["Body"].read())

    left = keys(s3, task)
    with ThreadPoolExecutor(THREADS) as pool:

        def submitted() -> list[Future[Any]]:
            return [pool.submit(load, key) for key in islice(left, BATCH_IMAGES)]

        ahead = [submitted() for _ in range(AHEAD_BATCHES)]
        while batch := ahead.pop(0):
            images: Images = np.stack([future.result() for future in batch])
            ahead.append(submitted())
            classify(images)


if __name__ == "__main__":
    main()
