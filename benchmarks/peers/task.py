"""What every peer is told, and how it says when it ran the model."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Task:
    """One run: the images, the model, and how they are to be decoded.

    ``engine``: onnxruntime, openvino or eager. ``decoder``: ours, usual. ``precision``: for
    openvino, float32 or bfloat16. ``meter``: the file to which each run of the model is noted.
    """

    store: dict[str, Any]
    bucket: str
    prefix: str
    engine: str
    precision: str
    onnx: str
    weights: str
    decoder: str
    threads: int
    meter: str

    @property
    def endpoint_url(self) -> str:
        """The store's, with its scheme."""
        return f"http://{self.store['endpoint']}"


def task_from_arguments() -> Task:
    """The task, which is the command's only argument, as JSON."""
    return Task(**json.loads(sys.argv[1]))


class Meter:
    """Appends a line for each run of the model: when it began and ended, and for how many images.

    A line is written by one call, so processes may share the file.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, started: float, images: int) -> None:
        """``started`` is a Unix time; the end is now."""
        os.write(self._file, f"{started:.6f} {time.time():.6f} {images}\n".encode())
