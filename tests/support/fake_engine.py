"""A tiny engine that says what it was asked, and a device loop over it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from shared.model import EngineName, Precision
from workers.inference.device import DeviceLoop
from workers.inference.engines import Images, Outputs
from workers.inference.model_types import LoadedModel, ModelKey
from workers.inference.models import LoadedModels

CLASSES = 256
POISON = 255


class FakeEngine:
    """Its top class is the image's first value; it raises on a batch with a ``POISON`` in it.

    It gives scores and features, as the model of ``samples`` does. While ``gate`` is not set, it
    runs nothing.
    """

    name: EngineName = "torch"
    precision: Precision | None = "float32"
    device = "fake"

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.inputs: list[Images] = []
        self.threads: set[str] = set()
        self.running = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False

    def run(self, images: Images) -> Outputs:
        self.running.set()
        assert self.gate.wait(30)
        firsts = [int(image.flat[0]) for image in images]
        self.batches.append(firsts)
        self.inputs.append(images)
        self.threads.add(threading.current_thread().name)
        if POISON in firsts:
            raise ValueError("poisoned\n image")
        return outputs_of(firsts)

    def close(self) -> None:
        self.closed = True


def outputs_of(firsts: list[int]) -> Outputs:
    """Scores (images, CLASSES), and features (images, 2): the image's first value and 1."""
    features = np.array([[first, 1] for first in firsts], np.float32)
    return np.eye(CLASSES, dtype=np.float32)[firsts] * 10, features


def firsts_of(outputs: Outputs) -> list[int]:
    """The images' first values, as scores and features both have them."""
    scores, features = outputs
    assert np.argmax(scores, axis=1).tolist() == features[:, 0].tolist()
    return [int(first) for first in features[:, 0]]


def loop_over(
    engine: FakeEngine | Callable[[ModelKey], LoadedModel],
    *,
    batch_images: int = 8,
    max_wait_seconds: float = 0.0,
    submitters: int = 1,
) -> DeviceLoop:
    """A device loop whose every model is ``engine``, or what ``engine`` makes of its key."""
    load = (lambda key: LoadedModel(engine)) if isinstance(engine, FakeEngine) else engine
    return DeviceLoop(
        LoadedModels(load),
        batch_images=batch_images,
        max_wait_seconds=max_wait_seconds,
        submitters=submitters,
    )


def images_of(*firsts: int, pixels: int = 2) -> Images:
    """Images of which each is filled with one value."""
    return np.stack([np.full((pixels, pixels, 3), first, np.uint8) for first in firsts])
