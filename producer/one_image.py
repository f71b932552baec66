"""A pipeline over a few images in a process of its own: the producer touches no pixel."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from producer.connections import connect_stack
from shared.errors import HeadraceError, UsageError
from shared.pipeline import Pipeline
from shared.settings import PROJECT_ROOT
from shared.storage import is_s3_url, parse_s3_url

MODULE = "workers.one_image"
# As the bucket of files that lie on this machine; ``workers.one_image`` knows it, too.
LOCAL = "local-files"


class ImageRows(BaseModel):
    """A row for each image, in their order, and where the time went, in milliseconds."""

    rows: list[dict[str, Any]]
    timings_ms: dict[str, float]


def run_images(
    pipeline: Pipeline,
    images: Sequence[str],
    home: Path,
    *,
    store: Path | None = None,
    models_bucket: str,
    out: Path | None = None,
) -> ImageRows:
    """The rows of files and ``s3://`` objects. What a user's class prints goes to stderr.

    ``store``: the folder that has the models and code as a store has them; None: the stack's.
    ``out``: a folder for what each model sees. Raises UsageError for an image that cannot be had,
    and HeadraceError for a model that cannot be run.
    """
    request = {
        "pipeline": pipeline.model_dump(mode="json"),
        "images": [_described(image) for image in images],
        "store": str(store) if store else None,
        "models_bucket": models_bucket,
        "home": str(home),
        "out": str(out.absolute()) if out else None,
    }
    ran = subprocess.run(
        [sys.executable, "-m", MODULE],
        input=json.dumps(request).encode(),
        stdout=subprocess.PIPE,
        cwd=PROJECT_ROOT,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(ran.stdout)
    except ValueError as error:
        ended = f"signal {-ran.returncode}" if ran.returncode < 0 else f"code {ran.returncode}"
        raise HeadraceError(
            "try_failed",
            f"The process that ran the images ended with {ended}.",
            "What it said is above. Where an image ends it, try the images one by one.",
        ) from error
    if "error" in answer:
        raise HeadraceError(**answer["error"])
    return ImageRows.model_validate(answer)


def _described(image: str) -> dict[str, Any]:
    """Its bucket, key, ETag and size. Raises UsageError, and the store's errors."""
    if is_s3_url(image):
        bucket, key = parse_s3_url(image)
        if not key:
            raise UsageError("no_key", f"{image!r} names no object.", "Say s3://BUCKET/KEY.")
        info = connect_stack().store_of(bucket).head(bucket, key)
        return {"bucket": bucket, "key": key, "etag": info.etag, "size": info.size}
    path = Path(image).expanduser()
    if path.is_dir():
        raise UsageError("not_a_file", f"{image} is a folder.", f"Say {image}/*.jpg, for example.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            "no_such_file", f"Cannot read {image}: {error.strerror}.", "Check the path."
        ) from error
    etag = hashlib.md5(data, usedforsecurity=False).hexdigest()  # as a store would have it
    key = os.path.normpath(path.absolute())  # without "..", which no key may have
    return {"bucket": LOCAL, "key": key, "etag": etag, "size": len(data)}
