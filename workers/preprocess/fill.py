"""One image's bytes become its rows of a slot, and the answers of the analyses on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from shared.item import ImageWarning
from shared.pipeline import Pipeline, view_of
from shared.pixels import Pixels
from shared.placement import Placement, Size
from shared.stages import INFERENCE, PREPROCESS
from shared.views import View
from workers.deadline import deadlines
from workers.preprocess.cpu_analysis import CpuAnalysis, label_of, naming
from workers.preprocess.damage import raising_item_errors
from workers.preprocess.decode import decode
from workers.preprocess.resize import resize_into


@dataclass(frozen=True, slots=True)
class Filled:
    """What is known of an image whose rows are filled: ``width`` and ``height`` of the whole.

    ``answers``: of the analyses on the CPU, by name, as JSON has them.
    """

    width: int
    height: int
    warning: ImageWarning | None = None
    answers: dict[str, Any] = field(default_factory=dict)


class Decoder(Protocol):
    """Fills rows, in this process (``decode_here``) or in a child (``decode_in_child``)."""

    def __call__(self, place: int, rows: Sequence[Pixels], data: bytes) -> Filled:
        """Fill ``rows`` with the image in the bytes of an object. Raises ItemError.

        ``place``: the item's place in its chunk. ``rows``: one for each of the pipeline's
        ``staged_views``, uint8 (height, width, 3).
        """
        ...


class ImageFiller:
    """Fills the rows of one image after the other, for a pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._preprocess = pipeline.preprocess
        here = pipeline.analyses_of(PREPROCESS)
        # The staged views first, in their order, each with the first analysis that takes it.
        labels: dict[View, str] = {}
        for name, analysis in (pipeline.analyses_of(INFERENCE) | here).items():
            labels.setdefault(view_of(analysis), label_of(name, analysis))
        self._views, self._labels = tuple(labels), tuple(labels.values())
        # Many photos of a chunk have one size.
        self._placements = lru_cache(maxsize=16)(self._place_all)
        self._analyses = {
            name: (CpuAnalysis(name, analysis), self._views.index(view_of(analysis)))
            for name, analysis in here.items()
        }

    def __call__(self, rows: Sequence[Pixels], data: bytes) -> Filled:
        """Decode ``data`` once, for all views and analyses. Raises ItemError."""
        decoded = decode(data, self._preprocess, self._views)
        size = decoded.width, decoded.height
        seen = [*rows, *(empty_row(view) for view in self._views[len(rows) :])]
        placements = self._placements(size)
        with raising_item_errors(data):
            for row, placement in zip(seen, placements, strict=True):
                resize_into(row, decoded.pixels, placement)
        answers = {name: each.ask(seen[view]) for name, (each, view) in self._analyses.items()}
        return Filled(*size, decoded.warning, answers)

    def _place_all(self, size: Size) -> list[Placement]:
        placements = []
        for view, label in zip(self._views, self._labels, strict=True):
            with naming(label):
                placements.append(view.place(size))
        return placements


def empty_row(view: View) -> Pixels:
    """Room for one image in a view: uint8 (height, width, 3)."""
    width, height = view.canvas
    return np.empty((height, width, 3), np.uint8)


@contextmanager
def decode_here(pipeline: Pipeline) -> Iterator[Decoder]:
    """A decoder in this process, which ends where one image takes longer than ``item_seconds``."""
    fill = ImageFiller(pipeline)
    with deadlines.watched() as renew:

        def decode_in_time(place: int, rows: Sequence[Pixels], data: bytes) -> Filled:  # noqa: ARG001
            renew(pipeline.preprocess.item_seconds)
            return fill(rows, data)

        yield decode_in_time
