"""``pipelines new``: a pipeline and a class to start from, which validate and run as they are."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

from shared.catalog import validate_file
from shared.errors import UsageError

Gives = Literal["classes", "vector", "values"]
GIVES: tuple[Gives, ...] = get_args(Gives)
# Of a file, a module and a pipeline.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")

_PIPELINE = """\
# Check it:  headrace pipelines validate {name}.yaml
# Try it:    headrace try {name}.yaml PHOTO.jpg
# Run it:    headrace enqueue s3://BUCKET/PREFIX --pipeline {name}.yaml --wait
# All fields are in docs/PIPELINES.md.
name: {name}
description: What this pipeline is for
preprocess:
  crop_pixels: 224 # the class gets squares of this side
model:
  python: {name}:{class_name} # in {name}.py beside this file
  args: {{scale: 1.0}} # what the class is constructed with
gives: {gives}
{options}
# files: [weights.pth] # files that the class opens by these names
# environment: [MY_TOKEN] # variables of the worker that the class may see
"""
_OPTIONS = {
    "classes": "postprocess:\n  top_k: 5 # how many predictions a row keeps",
    "vector": "postprocess:\n  length: 3 # how many numbers the vector of an image has",
    "values": "postprocess:\n  fields: # each becomes a field of the column 'values'\n"
    "    brightness: float\n    colour: text",
}
_CLASS = '''\
import numpy as np


class {class_name}:
    """{about}"""

    def __init__(self, scale=1.0):
        # Runs once in each process. Load weights here, by the names that 'files:' has.
        self.scale = scale

    def __call__(self, images):
        # images: uint8 RGB, of shape (images, height, width, 3).
        means = images.mean(axis=(1, 2)) / 255 * self.scale
{body}
'''
_ABOUT = {
    "classes": "Names the colour channel that an image has most of.",
    "vector": "Gives the mean of each colour channel.",
    "values": "Gives the brightness of an image, and the colour channel that it has most of.",
}
_BODY = {
    "classes": """\
        names = np.array(["red", "green", "blue"])
        # For each image (label, score), or a list of them with the best first.
        return [(str(names[mean.argmax()]), float(mean.max())) for mean in means]""",
    "vector": """\
        # A vector for each image: an array of shape (images, length).
        return means.astype(np.float32)""",
    "values": """\
        names = np.array(["red", "green", "blue"])
        # For each image a dictionary of the fields that the pipeline lists.
        return [
            {"brightness": float(mean.mean()), "colour": str(names[mean.argmax()])}
            for mean in means
        ]""",
}


def new_pipeline(name: str, gives: Gives, folder: Path) -> tuple[Path, Path]:
    """Write ``NAME.yaml`` and ``NAME.py``. Returns their paths.

    Raises UsageError, and leaves nothing, where one is there already or the name cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            "bad_name",
            f"{name[:100]!r} cannot be the name of a pipeline and its module.",
            "Take lower-case letters, digits and '_', a letter first, 63 at most.",
        )
    words = {"name": name, "class_name": "".join(map(str.capitalize, name.split("_")))}
    pipeline, module = folder / f"{name}.yaml", folder / f"{name}.py"
    texts = {
        pipeline: _PIPELINE.format(**words, gives=gives, options=_OPTIONS[gives]),
        module: _CLASS.format(**words, about=_ABOUT[gives], body=_BODY[gives]),
    }
    written: list[Path] = []
    try:
        for path, text in texts.items():
            with path.open("x") as file:
                written.append(path)
                file.write(text)
        validate_file(pipeline)
    except BaseException as error:
        for path in written:
            with suppress(OSError):
                path.unlink()
        if isinstance(error, FileExistsError):
            raise UsageError(
                "file_exists", f"{error.filename} is there already.", "Choose another name."
            ) from error
        if isinstance(error, UsageError):  # a module of that name is installed
            raise UsageError(error.code, error.message, "Choose another name.") from error
        if isinstance(error, OSError):
            raise UsageError(
                "file_not_written",
                f"Cannot write {error.filename}: {error.strerror}.",
                "Change to a folder that you may write to.",
            ) from error
        raise
    return pipeline, module
