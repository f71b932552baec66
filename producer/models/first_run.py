"""A model's first run, over made-up images: what cannot run never comes into the bucket."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from producer.models.child import answered, disposable_child
from producer.models.usual_pipeline import usual_pipeline
from shared.catalog import Catalog, PublishedModel, model_key, publish, release, resolve
from shared.catalog.published import ONNX, WEIGHTS
from shared.errors import HeadraceError, PermanentError
from shared.few_images import LOCAL_FILES, FewImages, GivenImage, ImageRows
from shared.pipeline import Pipeline
from shared.storage.folder import FolderStore

MODULE = "workers.few_images"
_BUCKET = "models"
_SECONDS = 600.0
# Upright, lying, and smaller than any model takes.
_SIZES = ((240, 320), (320, 240), (24, 24))

FirstRun = Callable[[PublishedModel, Mapping[str, Path], Path, Catalog], None]


def run_once(
    version: PublishedModel, files: Mapping[str, Path], folder: Path, catalog: Catalog
) -> None:
    """Answer a few made-up images with the code of the workers, from a store in ``folder``.

    The engine is the one that runs any graph, in float32: which is fastest, each machine finds out
    itself. Raises PermanentError where an image is not answered, HeadraceError where the model
    cannot be loaded, and ChildEnded.
    """
    store = FolderStore(folder / "store")
    store.make_bucket(_BUCKET)
    needed = {file for file in files if file != WEIGHTS or ONNX not in files}
    for file in needed:
        store.put_file(_BUCKET, model_key(version.name, version.sha256, file), files[file])
    publish(store, _BUCKET, version)
    release(store, _BUCKET, version.name, version.sha256)
    document = folder / "first_run.yaml"
    document.write_text(usual_pipeline(version.name, version.outputs))
    pipeline = resolve(str(document), _BUCKET, store, catalog).pipeline
    request = FewImages(
        pipeline=_exact(pipeline, version),
        images=[_image(folder, *size) for size in _SIZES],
        store=folder / "store",
        models_bucket=_BUCKET,
        home=folder / "home",
        out=None,
    )
    size = max(files[file].stat().st_size for file in needed)
    with disposable_child(MODULE, folder, size) as process:
        doing = f"that runs {version.name}"
        lines = answered(process, request.model_dump_json().encode(), _SECONDS, doing)
    _require_answers(version, lines)


def _require_answers(version: PublishedModel, lines: list[str]) -> None:
    try:
        answer: dict[str, Any] = json.loads(lines[-1] if lines else "")
    except ValueError as error:
        raise HeadraceError(
            "first_run_failed",
            f"The process that ran '{version.name}' ended without an answer.",
            "Set HEADRACE_DEBUG=1 to see what it said.",
        ) from error
    if "error" in answer:
        raise HeadraceError(**answer["error"])
    for row in ImageRows.model_validate(answer).rows:
        if row["status"] != "ok":
            raise PermanentError(
                "first_run_failed",
                f"'{version.name}' runs, and its answers cannot be used: {row['error_message']}",
                "Check --size, --layout and the labels, or export the model again.",
            )


def _exact(pipeline: Pipeline, version: PublishedModel) -> Pipeline:
    engine = "onnxruntime" if version.has_graph else "torch"
    exact = {"engine": engine, "precision": "float32"}
    analyses = {n: each.model_copy(update=exact) for n, each in pipeline.analyses.items()}
    return pipeline.model_copy(update={"analyses": analyses})


def _image(folder: Path, width: int, height: int) -> GivenImage:
    """A PNG of coloured noise, the same one every time."""
    noise = random.Random(width).randbytes(width * height * 3)
    lines = [noise[start : start + 3 * width] for start in range(0, len(noise), 3 * width)]
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + line for line in lines))
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    path = folder / f"{width}x{height}.png"
    path.write_bytes(data)
    return GivenImage(bucket=LOCAL_FILES, key=str(path.absolute()), etag="made", size=len(data))
