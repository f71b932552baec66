"""In place of decoding and of the device: a pattern that follows from an object's bytes.

It is written into the slot and read from it in two halves, with time between, so that a pixel of
another chunk shows in a row.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from shared.analyses.classes import Classes
from shared.analyses.palette import Palette
from shared.job import EngineChoice
from shared.model import Model
from shared.pipeline import Pipeline
from shared.stages import PREPROCESS
from shared.views import View
from shared.views.crop import Crop
from shared.views.letterbox import Letterbox
from tests.simulation.gate import Gate
from workers.inference.errors import ClassUnusable, EngineError, ModelUnusable
from workers.inference.submission import InferenceResult
from workers.preprocess.fill import Decoder, Filled
from workers.suspects import Note

SIDE = 4
VIEW = Crop(resize_shorter_pixels=SIDE, crop_pixels=SIDE)
WIDE_VIEW = Letterbox(width=6, height=2)
MODEL = Model(name="pattern", sha256="0" * 64, python_class="pattern:Pattern", code_sha256="0" * 64)
FINDER = Model(name="finder", sha256="1" * 64, python_class="finder:Finder", code_sha256="1" * 64)
CLASSES = Classes(model=MODEL.name, view=VIEW)
WIDE_CLASSES = Classes(model=FINDER.name, view=WIDE_VIEW)
PALETTE = Palette(view=VIEW)
# One of each route, one of which both stages answer, and one with two views in a slot.
PIPELINES = (
    Pipeline(
        name="pattern", form="short", models={MODEL.name: MODEL}, analyses={"classes": CLASSES}
    ),
    Pipeline(name="colours", form="long", models={}, analyses={"colours": PALETTE}),
    Pipeline(
        name="both",
        form="long",
        models={MODEL.name: MODEL},
        analyses={"classes": CLASSES, "colours": PALETTE},
    ),
    Pipeline(
        name="views",
        form="long",
        models={MODEL.name: MODEL, FINDER.name: FINDER},
        analyses={"classes": CLASSES, "wide": WIDE_CLASSES},
    ),
)
# The most that an image takes in a slot.
IMAGE_BYTES = max(pipeline.staged_image_bytes for pipeline in PIPELINES)
# What the longest name of a colour can say of a label.
_NAME_CHARACTERS = 64
_BROKEN = "'pattern:Pattern' cannot be constructed: it is broken"
_LOST = "There are no weights."
_ENGINE = EngineChoice(engine="python", precision=None, device="simulated", reason="")


def pattern(data: bytes, view: View = VIEW) -> bytes:
    """The pixels of an object in a view: the first byte is the same in all of them."""
    first, rest = hashlib.sha384(data).digest()[:1], data + repr(view.canvas).encode()
    return first + hashlib.shake_128(rest).digest(view.image_bytes - 1)


def label(data: bytes, view: View = VIEW) -> str:
    """What the rows are to say of an object in a view."""
    return pattern(data, view).hex()


def is_right(row: Mapping[str, Any], data: bytes) -> bool:
    """Does each answer of a row follow from the object's bytes?"""
    said: dict[str, Callable[[Any], bool]] = {
        "classes": lambda answer: answer["label"] == label(data),
        "wide": lambda answer: answer["label"] == label(data, WIDE_VIEW),
        "colours": lambda answer: (
            [each["name"] for each in answer] == [label(data)[:_NAME_CHARACTERS]]
        ),
    }
    columns = said.keys() & row.keys()
    if not columns:  # the short form
        return bool(row["label"] == label(data))
    return all(said[name](row[name]) for name in columns)


class StandIns:
    """How many seconds an image takes to decode, and a batch on the device.

    ``poisoned_share``: of the images, on which the engine raises.
    """

    def __init__(
        self, gate: Gate, decode_seconds: float, device_seconds: float, poisoned_share: float
    ) -> None:
        self._gate, self._poisoned_share = gate, poisoned_share
        self._decode_seconds, self._device_seconds = decode_seconds, device_seconds
        self.images_filled = 0
        self.broken: set[str] = set()  # jobs whose class can be constructed no longer
        self.lost: set[str] = set()  # jobs whose model can be loaded no longer

    def is_poisoned(self, data: bytes) -> bool:
        """Does the engine raise on this object?"""
        return self._raises_on(label(data))

    def _raises_on(self, said: str) -> bool:
        return int(said[:2], 16) < self._poisoned_share * 256

    @contextmanager
    def decode_here(self, pipeline: Pipeline) -> Iterator[Decoder]:
        """As ``fill.decode_here``."""

        def decode(place: int, rows: Sequence[Any], data: bytes) -> Filled:
            for row, view in zip(rows, pipeline.staged_views, strict=True):
                pixels = np.frombuffer(pattern(data, view), np.uint8).reshape(row.shape)
                half = len(row) // 2
                self._in_halves(
                    *("pixels.write", self._decode_seconds),
                    lambda: np.copyto(row[:half], pixels[:half]),  # noqa: B023
                    lambda: np.copyto(row[half:], pixels[half:]),  # noqa: B023
                )
            self.images_filled += 1
            colour = {"hex": "#000000", "share": 1.0, "name": label(data)[:_NAME_CHARACTERS]}
            answers = {name: [colour] for name in pipeline.analyses_of(PREPROCESS)}
            return Filled(SIDE, SIDE, answers=answers)

        yield decode

    @contextmanager
    def keeping(self, _keys: object) -> Iterator[None]:
        """As ``DeviceLoop.keeping``: no model of these is ever closed."""
        yield

    @contextmanager
    def decode_in_child(
        self, pipeline: Pipeline, _: threading.Event, note: Note
    ) -> Iterator[Decoder]:
        """As ``suspects.decode_in_child``, of which nothing dies."""
        with self.decode_here(pipeline) as decode:

            def decode_noted(place: int, rows: Sequence[Any], data: bytes) -> Filled:
                note(place)
                filled = decode(place, rows, data)
                note(None)
                return filled

            yield decode_noted

    def submit(
        self, _: object, images: Any, *, job: str, **_how: object
    ) -> Future[InferenceResult]:
        """As ``DeviceLoop.submit``; what it returns is done."""
        future: Future[InferenceResult] = Future()
        if job in self.broken:
            future.set_exception(ClassUnusable(_BROKEN))
            return future
        if job in self.lost:
            future.set_exception(ModelUnusable(_LOST))
            return future
        model = cast(Any, SimpleNamespace(choice=_ENGINE, labels=()))
        outputs = [(text, 1.0) for text in self._read(images)]
        if any(self._raises_on(text) for text, _ in outputs):
            future.set_exception(EngineError("poisoned"))
            return future
        now = self._gate.clock.now
        future.set_result(InferenceResult(model, outputs, 0.0, self._device_seconds, now, now))
        return future

    def _read(self, images: Any) -> list[str]:
        half = images.shape[1] // 2
        halves = self._in_halves(
            *("pixels.read", self._device_seconds),
            lambda: images[:, :half].copy(),
            lambda: images[:, half:].copy(),
        )
        return [image.tobytes().hex() for image in np.concatenate(halves, axis=1)]

    def _in_halves(
        self, name: str, seconds: float, first: Callable[[], Any], second: Callable[[], Any]
    ) -> tuple[Any, Any]:
        one = self._gate.touch(name, first)
        self._gate.clock.sleep(seconds)
        return one, self._gate.touch(name, second)
