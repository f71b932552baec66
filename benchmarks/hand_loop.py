"""What a user would write by hand: threads fetch and decode, the main thread infers.

Same images, same model file, same engine, same preprocessing as the ``classify`` pipeline.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import onnxruntime
from botocore.config import Config
from PIL import Image
from torchvision.transforms import v2 as transforms

BATCH_IMAGES = 64
THREADS = 8
TRANSFORM = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])


def images_per_second(store: dict[str, Any], bucket: str, prefix: str, model: Path) -> float:
    """Classify everything under the prefix. Returns the rate, without loading the model."""
    s3 = boto3.client(
        "s3",
        endpoint_url=f"http://{store['endpoint']}",
        aws_access_key_id=store["access_key"],
        aws_secret_access_key=store["secret_key"],
        region_name=store["region"],
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=THREADS),
    )
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (tensor,) = session.get_inputs()

    def load(key: str) -> np.ndarray[Any, Any] | None:
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        try:
            return np.asarray(TRANSFORM(Image.open(io.BytesIO(body)).convert("RGB")))
        except (OSError, Image.DecompressionBombError):
            return None

    started, count = time.monotonic(), 0
    with ThreadPoolExecutor(THREADS) as pool:
        for batch in _batches(pool, load, _keys(s3, bucket, prefix)):
            session.run(None, {tensor.name: batch})
            count += len(batch)
    return count / (time.monotonic() - started)


def _keys(s3: Any, bucket: str, prefix: str) -> Iterator[str]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from (entry["Key"] for entry in page.get("Contents", []))


def _batches(
    pool: ThreadPoolExecutor, load: Any, keys: Iterator[str]
) -> Iterator[np.ndarray[Any, Any]]:
    """Two batches ahead of the model."""
    ahead = [[pool.submit(load, key) for key in islice(keys, BATCH_IMAGES)] for _ in range(2)]
    while ahead[0]:
        images = [image for future in ahead.pop(0) if (image := future.result()) is not None]
        ahead.append([pool.submit(load, key) for key in islice(keys, BATCH_IMAGES)])
        if images:
            yield np.stack(images)
