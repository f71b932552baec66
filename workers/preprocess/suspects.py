"""Decoding in a child, for a chunk of which an image may be a killer."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import numpy as np

from shared.errors import ItemError, ItemErrorCode, TransientError
from shared.item import ImageWarning, ItemFailure
from shared.limits import MAX_IMAGE_SIDE_PIXELS
from shared.pipeline import Pipeline
from shared.pixels import Pixels
from shared.stages import PREPROCESS
from shared.staging.pixel_layout import PixelLayout
from workers.preprocess.cpu_analysis import CpuAnalysis
from workers.preprocess.fill import Decoder, Filled
from workers.suspects import ChildUnstartable, KillVerdict, Note, SuspectTrial
from workers.suspects.packet import Packet

CHILD = "workers.preprocess.suspect_child"
START_SECONDS = 120.0
_PAUSE_SECONDS = 5.0

_Tried = tuple[Filled, Sequence[Pixels]]


@contextmanager
def decode_in_child(
    pipeline: Pipeline, stopping: threading.Event, note: Note, module: str = CHILD
) -> Iterator[Decoder]:
    """A decoder in ``module``'s process. What kills it twice raises ItemError ``killed_worker``.

    ``note`` notes which item is on trial. Decoding raises TransientError where the worker stops, or
    no such process can be started.
    """
    layout = PixelLayout(pipeline.staged_views, images=1)
    here = pipeline.analyses_of(PREPROCESS)
    analyses = {name: CpuAnalysis(name, analysis) for name, analysis in here.items()}

    def read(answer: Packet) -> _Tried | ItemFailure:
        if "failure" in answer.header:
            return ItemFailure.model_validate(answer.header["failure"])
        pixels = np.frombuffer(answer.payload, np.uint8)
        if pixels.size != layout.total_bytes:
            raise ValueError("not one image in each view")
        return _filled(answer.header, analyses), layout.rows(pixels, 0)

    trial = SuspectTrial(
        module,
        Packet(pipeline.model_dump(mode="json")),
        read,
        start_seconds=START_SECONDS,
        item_seconds=pipeline.preprocess.item_seconds,
        note=note,
        stopping=stopping,
    )

    def decode(place: int, rows: Sequence[Pixels], data: bytes) -> Filled:
        try:
            answer = trial.run(place, data)
        except ChildUnstartable as error:  # no image's fault, so none is to pay for it
            stopping.wait(_PAUSE_SECONDS)
            raise TransientError("no_child", str(error)) from error
        if isinstance(answer, KillVerdict):
            raise ItemError(ItemErrorCode.KILLED_WORKER, answer.reason)
        if isinstance(answer, ItemFailure):
            raise ItemError(answer.error_code, answer.error_message)
        filled, pixels = answer
        for row, image in zip(rows, pixels, strict=True):
            row[:] = image
        return filled

    with trial:
        yield decode


def _filled(header: dict[str, Any], analyses: Mapping[str, CpuAnalysis]) -> Filled:
    """Raises ValueError where the child's words are those of no image."""
    warning = header.get("warning")
    if warning not in (None, *get_args(ImageWarning)):
        raise ValueError("an unknown warning")
    answers = header.get("answers")
    if not isinstance(answers, dict) or answers.keys() != analyses.keys():
        raise ValueError("not one answer of each analysis")
    return Filled(
        _side(header.get("width")),
        _side(header.get("height")),
        warning,
        {name: each.checked(answers[name]) for name, each in analyses.items()},
    )


def _side(value: object) -> int:
    if not isinstance(value, int) or not 0 < value <= MAX_IMAGE_SIDE_PIXELS:
        raise ValueError("an impossible size")
    return value
