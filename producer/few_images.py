"""A pipeline over a few images: what is asked of the process that runs it, and its answer."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from producer.stages_process import StagesProcess
from shared.errors import HeadraceError, UsageError
from shared.few_images import LOCAL_FILES, FewImages, GivenImage, ImageRows
from shared.paths import expanded
from shared.pipeline import Pipeline
from shared.storage import is_s3_url, parse_s3_url


def run_images(
    process: StagesProcess,
    pipeline: Pipeline,
    images: Sequence[str],
    home: Path,
    *,
    store: Path | None = None,
    models_bucket: str,
    out: Path | None = None,
    code: Sequence[Path] = (),
) -> ImageRows:
    """The rows of files and ``s3://`` objects. What a user's class prints goes to stderr.

    ``store``: the folder that has the models and code as a store has them; None: the stack's.
    ``out``: a folder for what each model sees. ``code``: see ``FewImages``.

    Raises UsageError for an image that cannot be read, and HeadraceError where the pipeline cannot
    run.
    """
    request = FewImages(
        pipeline=pipeline,
        images=[_given(image, home) for image in images],
        store=store and store.absolute(),
        models_bucket=models_bucket,
        home=home.absolute(),
        out=out and out.absolute(),
        code=[folder.absolute() for folder in code],
    )
    printed, _ = process.communicate(request.model_dump_json().encode())
    try:
        answer: dict[str, Any] = json.loads(printed)
    except ValueError as error:
        ended = process.returncode
        how = f"signal {-ended}" if ended < 0 else f"code {ended}"
        raise HeadraceError(
            "try_failed",
            f"The process that ran the images ended with {how}.",
            "What it said is above. Try the images one by one.",
        ) from error
    if "error" in answer:
        raise HeadraceError(**answer["error"])
    return ImageRows.model_validate(answer)


def _given(image: str, home: Path) -> GivenImage:
    """Raises UsageError, and the store's errors."""
    try:
        return _object(image, home) if is_s3_url(image) else _file(image)
    except ValidationError as error:
        raise UsageError(
            "bad_path",
            f"The name {ascii(image)[:100]} is too long or not in UTF-8.",
            "Copy it to a shorter path of plain characters.",
        ) from error


def _object(url: str, home: Path) -> GivenImage:
    from producer.connections import connect_stack

    bucket, key = parse_s3_url(url)
    if not key or key.endswith("/"):
        raise UsageError("no_key", f"{url!r} names no object.", "Say s3://BUCKET/KEY.")
    info = connect_stack(home).store_of(bucket).head(bucket, key)
    return GivenImage(bucket=bucket, key=key, etag=info.etag, size=info.size)


def _file(image: str) -> GivenImage:
    path = expanded(image)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            hint = f"Name files, as in {image.rstrip('/')}/*.jpg"
            raise UsageError("not_a_file", f"{image} is a folder.", hint)
        if not stat.S_ISREG(mode):  # reading it may never end
            raise UsageError("not_a_file", f"{image} is not a file.", "Write it to a file first.")
        with path.open("rb") as file:
            etag = hashlib.file_digest(file, "md5").hexdigest()  # as a store has it
            size = file.tell()
        whole = path.parent.resolve() / path.name
    except (OSError, ValueError) as error:  # ValueError: a NUL in it
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            "no_such_file", f"Cannot read {image}: {reason}.", "Check the path."
        ) from error
    return GivenImage(bucket=LOCAL_FILES, key=str(whole), etag=etag, size=size)
