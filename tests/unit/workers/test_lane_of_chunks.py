"""A chunk goes on in the lane in which it came."""

from __future__ import annotations

from typing import Any

import pytest

from shared.ledger import ChunkRef, Claim, WorkerIdentity
from shared.messages import Message
from shared.stages import (
    INFERENCE,
    LANES,
    PREPROCESS,
    RESULTS,
    Lane,
    Stage,
    lane_of_queue,
    queue_name,
    stage_queues,
)
from tests.support import samples
from workers.runtime import Forward, Runtime


class Notes:
    """A ledger and a sender that note the queues that they are given."""

    def __init__(self) -> None:
        self.queues: list[str] = []

    def claim(self, ref: ChunkRef, *_: object) -> Claim:
        return Claim(ref, 0)

    def advance(
        self, _ref: ChunkRef, _stage: Stage, _who: object, _next: Stage, queue: str
    ) -> None:
        self.queues.append(queue)

    def send(self, _task: str, queue: str, _message: Message) -> None:
        self.queues.append(queue)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize(
    ("stage", "next_stage", "host"), [(PREPROCESS, INFERENCE, "far"), (INFERENCE, RESULTS, "")]
)
def test_it_is_noted_and_sent_in_its_lane(
    lane: Lane, stage: Stage, next_stage: Stage, host: str
) -> None:
    notes, settings = Notes(), None
    identity = WorkerIdentity(stage.role, "p-1", "testhost")
    runtime = Runtime(settings, identity, notes, notes)  # type: ignore[arg-type]
    message = samples.batch()
    runtime.process(message, lane, stage, lambda *_: Forward(next_stage, message, host))
    assert notes.queues == [queue_name(next_stage, lane, host)] * 2


def test_the_lane_of_each_queue_is_known() -> None:
    for stage in (PREPROCESS, INFERENCE, RESULTS):
        found: Any = tuple(map(lane_of_queue, stage_queues(stage, "a.host-with.dots")))
        assert found == LANES
