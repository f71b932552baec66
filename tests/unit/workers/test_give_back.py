"""What becomes of a chunk that a worker gives back: it sends it, or leaves it to the producer."""

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
        self.left: list[ChunkRef] = []

    def leave(self, ref: ChunkRef, *_: object) -> None:
        self.left.append(ref)

    def claim(self, ref: ChunkRef, *_: object) -> Claim:
        return Claim(ref, 0)

    def give_back(self, ref: ChunkRef, *_: object) -> GivenBack:
        return GivenBack(replace(ref, attempt=ref.attempt + 1), self.first_stage, "first.queue")


class Sent(list[tuple[str, str, Message]]):
    def send(self, task: str, queue: str, message: Message) -> None:
        self.append((task, queue, message))


def given_back(message: Message, first_stage: str = PREPROCESS.name) -> tuple[Sent, list[ChunkRef]]:
    """The messages that were sent, and the chunks that were left to the producer."""
    sent, ledger = Sent(), OneChunk(first_stage)
    settings: Any = None
    identity = WorkerIdentity("inference", "i-1", "testhost")
    runtime = Runtime(settings, identity, ledger, sent)  # type: ignore[arg-type]
    runtime.process(message, "bulk", INFERENCE, lambda *_: GiveBack())
    return sent, ledger.left


def test_a_chunk_goes_to_the_first_queue_of_its_job() -> None:
    again = samples.chunk(attempt=2)
    assert given_back(samples.chunk()) == ([(PREPROCESS.task, "first.queue", again)], [])


@pytest.mark.parametrize("message", [samples.batch(), samples.result()], ids=["batch", "result"])
def test_a_message_without_items_is_left_to_the_producer(message: Message) -> None:
    assert given_back(message) == ([], [message.ref])


def test_a_first_stage_of_another_version_is_not_sent_to() -> None:
    assert given_back(samples.chunk(), "gone") == ([], [])
