"""A model of a test's own that labels each image by its pixels, and keeps a log of what it saw."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from tests.support.stack import Stack

SECONDS_AN_IMAGE = 0.02

_PLUGIN = """
import hashlib, os, time

folder, seconds = %r

class Seen:
    def __init__(self):
        self.log = open(f"{folder}/seen-{os.getpid()}.log", "a", buffering=1)

    def __call__(self, images):
        labels = [hashlib.sha256(image.tobytes()).hexdigest()[:16] for image in images]
        self.log.write("".join(f"{time.time()} {label}\\n" for label in labels))
        time.sleep(seconds * len(images))
        return [(label, 1.0) for label in labels]
"""


class Seen:
    """The model, in a folder of plugins. ``pipeline`` is the file that asks for it."""

    def __init__(self, plugins: Path) -> None:
        self._plugins = plugins
        (plugins / "seen.py").write_text(
            _PLUGIN.replace("%r", repr((str(plugins), SECONDS_AN_IMAGE)))
        )
        path = plugins / "seen.yaml"
        path.write_text("model: {python: 'seen:Seen'}\n")
        self.pipeline = str(path)

    def since(self, moment: float) -> Counter[str]:
        """How often each image was run after ``moment``, by ``time.time()``."""
        lines = [
            line.split()
            for path in self._plugins.glob("seen-*.log")
            for line in path.read_text().splitlines()
        ]
        return Counter(label for at, label in lines if float(at) > moment)


def listed(stack: Stack, job: str) -> dict[int, list[str]]:
    """The keys of each chunk, from the job's manifest."""
    keys: dict[int, list[str]] = {}
    for name in _names(stack, f"jobs/{job}/manifest/"):
        body = stack.s3.get_object(Bucket="state", Key=name)["Body"].read()
        for row in pq.read_table(io.BytesIO(body), columns=["chunk", "key"]).to_pylist():
            keys.setdefault(row["chunk"], []).append(row["key"])
    return keys


def finished(stack: Stack, job: str) -> set[int]:
    """The chunks whose files stand."""
    return {int(Path(name).stem) for name in _names(stack, f"jobs/{job}/chunks/")}


def _names(stack: Stack, prefix: str) -> list[str]:
    pages = stack.s3.get_paginator("list_objects_v2").paginate(Bucket="state", Prefix=prefix)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]
