"""Inference stages on real slots, for the unit tests of several files."""

from __future__ import annotations

from collections.abc import Callable

from shared.ledger import ChunkRef
from workers.inference.stage import InferenceStage

MakeStage = Callable[..., InferenceStage]


class Noted:
    """What was noted in the ledger; ``lost``: how often the worker was lost on an image."""

    def __init__(self) -> None:
        self.items: list[int | None] = []
        self.lost: dict[int, int] = {}

    def __call__(self, ref: ChunkRef, item: int | None) -> int:
        self.items.append(item)
        return 0 if item is None else self.lost.get(item, 0)
