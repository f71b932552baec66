"""A new stage is a row in the table and a worker of its own: nothing in the product changes.

Producer, ledger, broker and the planted stage's worker are real; the test does what preprocess and
collector would.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from producer.lead.leader import Leader
from shared.broker.publisher import MessagePublisher
from shared.ledger import ChunkRef
from shared.messages import Chunk, Result
from shared.stages import PREPROCESS, RESULTS, STAGES, Stage, queue_name
from tests.support.envelopes import M, message_in
from tests.support.planted_role import ROLE
from tests.support.planted_stage import HELD_JOB, STAGE, Drawing
from tests.support.producer_harness import FIRST, RESCUE_SECONDS, THIRD, WORKER, ProducerHarness
from tests.support.samples import save_settings
from tests.support.waiting import wait_for

REPOSITORY = Path(__file__).parents[2]
Start = Callable[[Stage], AbstractContextManager["Site"]]


@dataclass
class Site:
    """A producer, and one worker of the planted stage."""

    harness: ProducerHarness
    leader: Leader
    stage: Stage
    process: subprocess.Popen[bytes]

    @property
    def queue(self) -> str:
        return queue_name(self.stage, host=self.harness.settings.host_id)

    def next_message(self, queue: str, kind: type[M], while_waiting: Callable[[], object]) -> M:
        """Take a message, as a worker would."""
        client = self.harness.client
        wait_for(lambda: while_waiting() or client.llen(queue), what=f"a message in {queue}")
        return message_in(client.rpop(queue), kind)

    def next_chunk(self) -> Chunk:
        """What the producer sends for the first stage."""

        def lead() -> None:
            self.harness.now += RESCUE_SECONDS
            self.leader.tick()

        return self.next_message(FIRST, Chunk, lead)

    def preprocess(self, chunk: Chunk) -> ChunkRef:
        """Move a chunk on to the planted stage, whose message is not sent yet."""
        ledger, ref = self.harness.ledger, chunk.ref
        assert ledger.claim(ref, PREPROCESS, WORKER).losses == 0
        ledger.advance(ref, PREPROCESS, WORKER, self.stage, self.queue)
        return ref

    def send(self, chunk: Chunk) -> None:
        """Send the planted stage's message."""
        self.harness.broker.send(self.stage.task, self.queue, Drawing.of(chunk))

    def hold_one(self) -> Chunk:
        """Have the worker hold a chunk, which it does until it stops."""
        self.harness.add_job(1, HELD_JOB)
        chunk = self.next_chunk()
        self.preprocess(chunk)
        self.send(chunk)
        ledger = self.harness.ledger
        (place,) = wait_for(
            lambda: [p for p in ledger.places([chunk.job_uid]) if p.state == "held"],
            what="the worker's hold",
        )
        assert place.stage == self.stage
        assert place.owner.startswith(f"{STAGE.role}-1@")
        return chunk

    def come_again(self, chunk: Chunk, again: Chunk) -> int:
        """The same chunk again, to the planted stage. How many of its holders were lost there?"""
        assert again == chunk.model_copy(update={"attempt": 2})
        ref = self.preprocess(again)
        return self.harness.ledger.claim(ref, self.stage, WORKER).losses


@pytest.fixture
def start(harness: ProducerHarness, monkeypatch: pytest.MonkeyPatch) -> Start:
    save_settings(harness.settings)
    harness.broker = MessagePublisher(harness.settings)  # type: ignore[assignment]

    @contextmanager
    def started(stage: Stage) -> Iterator[Site]:
        monkeypatch.setitem(STAGES, stage.name, stage)
        log = harness.settings.home / "worker.log"
        process = subprocess.Popen(
            [sys.executable, "-m", ROLE.module, *(["long"] * stage.long)],
            env={
                **os.environ,
                "HEADRACE_HOME": str(harness.settings.home),
                "HEADRACE_PROCESS": f"{STAGE.role}-1",
            },
            stderr=log.open("wb"),
            cwd=REPOSITORY,
        )
        leader = harness.lead()
        try:
            leader.tick()
            wait_for(lambda: harness.ledger.hosts(STAGE.role), what="the worker's lease")
            yield Site(harness, leader, stage, process)
        finally:
            process.terminate()
            assert process.wait(20) in (0, -9), log.read_text()

    return started


def test_a_chunk_goes_through_a_planted_stage(start: Start) -> None:
    with start(STAGE) as site:
        spec = site.harness.add_job(1)
        chunk = site.next_chunk()
        site.preprocess(chunk)
        site.send(chunk)
        result = site.next_message(THIRD, Result, lambda: None)
        ledger = site.harness.ledger
        assert (result.ref, len(result.answers)) == (chunk.ref, len(chunk.items))
        ledger.claim(result.ref, RESULTS, WORKER)
        ledger.finish(result.ref, WORKER, {})
        assert ledger.done_between(spec.job_uid, 0, 1) == 1


@pytest.mark.parametrize(("long", "losses"), [(False, 1), (True, 0)], ids=["short", "long"])
def test_a_killed_workers_chunk_is_rescued_from_a_planted_stage(
    start: Start, long: bool, losses: int
) -> None:
    with start(replace(STAGE, long=long)) as site:
        chunk = site.hold_one()
        site.process.kill()
        assert site.come_again(chunk, site.next_chunk()) == losses


def test_a_worker_that_stops_gives_a_planted_stages_chunk_back(start: Start) -> None:
    with start(STAGE) as site:
        chunk = site.hold_one()
        site.process.terminate()
        assert site.process.wait(20) == 0
        again = site.next_message(FIRST, Chunk, lambda: None)  # from the worker, nobody leads
        assert site.come_again(chunk, again) == 0
