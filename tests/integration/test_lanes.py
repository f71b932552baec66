"""A real worker takes from the queues of both lanes, on Redis and on RabbitMQ alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.stages import PREPROCESS, Lane, queue_name
from tests.support.waiting import wait_for
from tests.support.worker_harness import WorkerHarness, start
from tests.support.workers.echo_worker import NOWHERE
from tests.support.workers.gated_worker import CLOSED, GIVEN, PERMITS, THREADS
from workers.quarantine.lanes import SHARE_OF_LAST

WAITING = 20


class GatedHarness:
    """A worker whose threads are all busy until a permit comes."""

    def __init__(self, harness: WorkerHarness) -> None:
        self.harness = harness
        self._client: Any = harness.client
        self._lanes: dict[int, Lane] = {}
        self._client.set(CLOSED, 1)
        self._client.delete(GIVEN)
        self.send("bulk", THREADS)
        self.given(THREADS)

    def send(self, lane: Lane, count: int) -> None:
        for _ in range(count):
            message = self.harness.queued()
            self._lanes[message.chunk] = lane
            self.harness.publisher.send(PREPROCESS.task, queue_name(PREPROCESS, lane), message)

    def given(self, count: int) -> list[Lane]:
        """The lanes of the messages that the threads were given, once there are ``count``."""
        wait_for(lambda: self._client.llen(GIVEN) >= count, what=f"message {count}", every=0.002)
        return [self._lanes[int(chunk)] for chunk in self._client.lrange(GIVEN, 0, -1)]

    def permit_one(self) -> None:
        self._client.rpush(PERMITS, 1)

    def passed_on(self, lane: Lane) -> int:
        """How many chunks the worker has passed on in this lane."""
        return self.harness.ledger.queued_count(queue_name(NOWHERE, lane))

    def waiting(self) -> dict[Lane, int]:
        """How many messages wait in each lane's queue, and are with no worker."""
        lanes: tuple[Lane, ...] = ("interactive", "bulk")
        length = self.harness.publisher.ready_length
        return {lane: length(queue_name(PREPROCESS, lane)) for lane in lanes}


@pytest.fixture
def gated(tmp_path: Path, rabbit_url: str | None) -> Iterator[GatedHarness]:
    module = "tests.support.workers.gated_worker"
    for harness in start(tmp_path, "preprocess", rabbit_url=rabbit_url, module=module):
        yield GatedHarness(harness)
        harness.client.delete(CLOSED)


def test_interactive_goes_first_and_at_least_one_of_eight_is_bulk(gated: GatedHarness) -> None:
    gated.send("bulk", WAITING)
    gated.send("interactive", WAITING)
    assert gated.waiting() == {"interactive": WAITING, "bulk": WAITING}

    for taken in range(1, 2 * WAITING + 1):
        gated.permit_one()
        given = gated.given(THREADS + taken)[THREADS:]
        assert len(given) == taken
        # No more is taken than there are threads: the rest stays in its own queue.
        assert gated.waiting() == {
            lane: WAITING - given.count(lane) for lane in ("interactive", "bulk")
        }

    round_of_eight = ["interactive"] * (SHARE_OF_LAST - 1) + ["bulk"]
    rest = WAITING % (SHARE_OF_LAST - 1)
    rounds = WAITING // (SHARE_OF_LAST - 1)
    assert given == [
        *(round_of_eight * rounds),
        *(["interactive"] * rest),
        *(["bulk"] * (WAITING - rounds)),
    ]


def test_bulk_is_next_when_it_comes_after_many_interactive_messages(gated: GatedHarness) -> None:
    gated.send("interactive", 2 * SHARE_OF_LAST)
    for taken in range(1, SHARE_OF_LAST + 1):
        gated.permit_one()
        assert gated.given(THREADS + taken)[THREADS:] == ["interactive"] * taken
    gated.send("bulk", 1)
    gated.permit_one()
    assert gated.given(THREADS + SHARE_OF_LAST + 1)[-1] == "bulk"


def test_an_idle_worker_takes_from_either_lane(gated: GatedHarness) -> None:
    lanes: tuple[Lane, ...] = ("interactive", "bulk", "interactive", "bulk")
    for _ in range(THREADS):
        gated.permit_one()
    for taken, lane in enumerate(lanes, 1):
        gated.permit_one()
        gated.send(lane, 1)
        assert gated.given(THREADS + taken)[-1] == lane


def test_a_chunk_goes_on_in_its_lane(gated: GatedHarness) -> None:
    gated.harness.client.delete(CLOSED)
    before = gated.passed_on("bulk")
    gated.send("interactive", 3)
    wait_for(lambda: gated.passed_on("interactive") == 3, what="three interactive chunks")
    gated.send("bulk", 2)
    wait_for(lambda: gated.passed_on("bulk") >= before + 2, what="two bulk chunks")
    assert gated.passed_on("interactive") == 3


def test_remote_control_answers_while_the_worker_is_busy_and_both_lanes_wait(
    gated: GatedHarness,
) -> None:
    gated.send("bulk", WAITING)
    gated.send("interactive", WAITING)
    control = gated.harness.app.control
    for _ in range(3):
        assert control.ping(timeout=30, limit=1) == [{gated.harness.name: {"ok": "pong"}}]
    assert gated.waiting() == {"interactive": WAITING, "bulk": WAITING}


def test_a_worker_that_stops_leaves_what_waits_in_both_lanes(gated: GatedHarness) -> None:
    gated.send("bulk", WAITING)
    gated.send("interactive", WAITING)
    gated.harness.process.terminate()
    ledger = gated.harness.ledger
    wait_for(lambda: all(w.stopping for w in ledger.workers()), what="the worker to stop")
    for _ in range(THREADS):
        gated.permit_one()
    gated.harness.process.wait(30)
    wait_for(
        lambda: gated.waiting() == {"interactive": WAITING, "bulk": WAITING},
        what="all that waited",
    )
    assert len(gated.given(THREADS)) == THREADS
