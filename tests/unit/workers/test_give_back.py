"""What a worker sends for a chunk that it gives back: the first stage's message, where it can."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.ledger import ChunkRef, Claim, GivenBack, WorkerIdentity
from shared.messages import Message
from shared.stages import INFERENCE, PREPROCESS
from tests.support import samples
from workers.runtime import GiveBack, Runtime


class OneChunk:
    """A ledger whose job begins at ``first_stage``, on a queue that the worker has never seen."""

    def __init__(self, first_stage: str) -> None:
        self.first_stage = first_stage

    def claim(self, ref: ChunkRef, *_: object) -> Claim:
        return Claim(ref, 0)

    def give_back(self, ref: ChunkRef, *_: object) -> GivenBack:
        return GivenBack(replace(ref, attempt=ref.attempt + 1), self.first_stage, "first.queue")


class Sent(list[tuple[str, str, Message]]):
    def send(self, task: str, queue: str, message: Message) -> None:
        self.append((task, queue, message))


def given_back(message: Message, first_stage: str = PREPROCESS.name) -> Sent:
    sent, ledger = Sent(), OneChunk(first_stage)
    settings: Any = None
    identity = WorkerIdentity("inference", "i-1", "testhost")
    runtime = Runtime(settings, identity, ledger, sent)  # type: ignore[arg-type]
    runtime.process(message, "bulk", INFERENCE, lambda *_: GiveBack())
    return sent


@pytest.mark.parametrize("message", [samples.chunk(), samples.batch()], ids=["chunk", "batch"])
def test_it_goes_to_the_first_queue_of_its_job(message: Message) -> None:
    again = samples.chunk(attempt=2).model_copy(update={"pipeline": message.pipeline})
    assert given_back(message) == [(PREPROCESS.task, "first.queue", again)]


def test_what_does_not_know_its_bucket_is_left_to_the_producer() -> None:
    assert given_back(samples.result()) == []


def test_a_first_stage_of_another_version_is_left_to_the_producer() -> None:
    assert given_back(samples.chunk(), "gone") == []
