"""Filling rows in a child, for a chunk of which an image may be a killer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_args

import numpy as np

from shared.errors import ItemError, ItemErrorCode, TransientError
from shared.messages import MAX_SIDE_PIXELS, ImageWarning, ItemFailure
from shared.pipeline import Preprocess
from workers.preprocess.fill import Fill, Filled
from workers.preprocess.resize import Pixels
from workers.suspects import ChildUnstartable, Deadly, Note, Trial
from workers.suspects.frame import Frame

CHILD = "workers.preprocess.suspect_child"
START_SECONDS = 120.0
_PAUSE_SECONDS = 5.0

_Tried = tuple[Filled, Pixels]


@contextmanager
def filling_in_child(
    preprocess: Preprocess,
    stopping: threading.Event,
    place: Callable[[], int],
    note: Note,
    module: str = CHILD,
) -> Iterator[Fill]:
    """Fill in ``module``'s process. What kills it twice raises ItemError ``killed_worker``.

    ``place`` gives that of the next item in the chunk; ``note`` notes it. Filling raises
    TransientError where the worker stops, or no such process can be had.
    """
    crop = preprocess.crop_pixels

    def read(answer: Frame) -> _Tried | ItemFailure:
        if "failure" in answer.header:
            return ItemFailure.model_validate(answer.header["failure"])
        pixels = np.frombuffer(answer.payload, np.uint8).reshape(crop, crop, 3)
        return _filled(answer.header), pixels

    trial = Trial(
        module,
        Frame(preprocess.model_dump(mode="json")),
        read,
        start_seconds=START_SECONDS,
        item_seconds=preprocess.item_seconds,
        note=note,
        stopping=stopping,
    )

    def fill(row: Pixels, data: bytes) -> Filled:
        try:
            answer = trial.run(place(), data)
        except ChildUnstartable as error:  # no image's fault, so none is to pay for it
            stopping.wait(_PAUSE_SECONDS)
            raise TransientError("no_child", str(error)) from error
        if isinstance(answer, Deadly):
            raise ItemError(ItemErrorCode.KILLED_WORKER, answer.reason)
        if isinstance(answer, ItemFailure):
            raise ItemError(answer.error_code, answer.error_message)
        filled, pixels = answer
        row[:] = pixels
        return filled

    with trial:
        yield fill


def _filled(header: dict[str, Any]) -> Filled:
    """Raises ValueError where the child's words are those of no image."""
    warning = header.get("warning")
    if warning not in (None, *get_args(ImageWarning)):
        raise ValueError("an unknown warning")
    return Filled(_side(header.get("width")), _side(header.get("height")), warning)


def _side(value: object) -> int:
    if not isinstance(value, int) or not 0 < value <= MAX_SIDE_PIXELS:
        raise ValueError("an impossible size")
    return value
