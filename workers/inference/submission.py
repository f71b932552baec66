"""What is submitted to the device, the pieces that its batches are formed from, and the answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from shared.errors import HeadraceError
from workers.inference.engines import DeviceRun, Images, Outputs
from workers.inference.model_types import AboutImage, LoadedModel, ModelKey


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """What came of one submission. ``outputs`` have one entry an image, in their order.

    ``device_seconds`` is its share, by images, of the batches that it was in; ``started_at`` and
    ``ended_at`` are Unix times of the first and last of them.
    """

    model: LoadedModel
    outputs: Outputs
    wait_seconds: float
    device_seconds: float
    started_at: float
    ended_at: float


@dataclass(slots=True, eq=False)
class Submission:
    """One chunk's images on their way to one model.

    ``thread``: the one that submitted them; it works on one chunk at a time.
    ``outputs`` are those of the pieces that have run, by the number of images before each: a piece
    that has to run again may end after later ones.
    """

    key: ModelKey
    job: str
    pieces: int = 1
    future: Future[InferenceResult] = field(default_factory=Future)
    thread: int = field(default_factory=threading.get_ident)
    submitted: float = field(default_factory=time.monotonic)
    outputs: dict[int, Outputs] = field(default_factory=dict)
    wait_seconds: float = 0.0
    device_seconds: float = 0.0
    started_at: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Images of one submission that run together; ``alone``: with no others.

    ``about``: what a user's class may ask about each of them.
    ``first``: how many of the submission's images come before them.
    ``fresh``: first in a process of its own, where the model is a user's class.
    """

    submission: Submission
    images: Images
    about: Sequence[AboutImage] | None = None
    first: int = 0
    alone: bool = False
    fresh: bool = False


DeviceBatch = list[Piece]


def images_of(batch: DeviceBatch) -> int:
    """How many there are."""
    return sum(len(piece.images) for piece in batch)


def about_of(batch: DeviceBatch) -> list[AboutImage] | None:
    """What is known about each image; None unless that is known of all."""
    about: list[AboutImage] = []
    for piece in batch:
        if piece.about is None:
            return None
        about += piece.about
    return about


def deliver(batch: DeviceBatch, model: LoadedModel, ran: DeviceRun, started: float) -> None:
    """Give each submission its outputs. The batch began at ``started``, of the monotonic clock."""
    first, images = 0, images_of(batch)
    for piece in batch:
        end = first + len(piece.images)
        share_seconds = ran.seconds * len(piece.images) / images
        outputs = _part(ran.outputs, first, end)
        _add(piece, model, ran, outputs, started, share_seconds)
        first = end


def _add(
    piece: Piece,
    model: LoadedModel,
    ran: DeviceRun,
    outputs: Outputs,
    started: float,
    share_seconds: float,
) -> None:
    submission = piece.submission
    if not submission.outputs:
        submission.wait_seconds = started - submission.submitted
        submission.started_at = ran.ended_at - ran.seconds
    submission.outputs[piece.first] = outputs
    submission.device_seconds += share_seconds
    if len(submission.outputs) < submission.pieces:
        return
    submission.future.set_result(
        InferenceResult(
            model=model,
            outputs=_together([part for _, part in sorted(submission.outputs.items())]),
            wait_seconds=submission.wait_seconds,
            device_seconds=submission.device_seconds,
            started_at=submission.started_at,
            ended_at=ran.ended_at,
        )
    )


def _part(outputs: Outputs, first: int, end: int) -> Outputs:
    if isinstance(outputs, tuple):
        return tuple(array[first:end] for array in outputs)
    return outputs[first:end]


def _together(parts: list[Outputs]) -> Outputs:
    if len(parts) == 1:
        return parts[0]
    tuples = [part for part in parts if isinstance(part, tuple)]
    if tuples:
        return tuple(map(np.concatenate, zip(*tuples, strict=True)))
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    # A user's class may give as many scores as it likes, batch by batch.
    if len(arrays) == len(parts) and len({array.shape[1:] for array in arrays}) == 1:
        return np.concatenate(arrays)
    return list(chain.from_iterable(parts))


def fail(batch: DeviceBatch, error: HeadraceError) -> None:
    """Tell each submission."""
    fail_all([piece.submission.future for piece in batch], error)


def fail_all(futures: Iterable[Future[Any]], error: HeadraceError) -> None:
    """Tell all who wait, with an error of their own each: a shared one would gather frames."""
    for future in futures:
        if not future.done():
            future.set_exception(type(error)(*error.args))
