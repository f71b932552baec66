"""Asking RabbitMQ for one message at a time; ``integration/test_lanes.py`` asks a real one."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from kombu import Exchange, Queue

from workers.quarantine import pulling_consumer
from workers.quarantine.pulling_consumer import (
    MAX_QUEUE_LOOK_SECONDS,
    MIN_QUEUE_LOOK_SECONDS,
    PullingConsumer,
)


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Broker:
    """A channel whose queues are filled and whose deliveries are made by hand; time is the test's.

    ``record``: what is read with the next answer and is not handled yet, as over TLS.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.waiting = {"interactive": 0, "bulk": 0}
        self.taken: list[str] = []
        self.looks = 0
        self.record: list[Callable[[], object]] = []
        self.channel = MagicMock(callbacks={})
        self.channel.queue_declare = self._declare
        self.channel.connection.drain_events = self._drain
        self.channel.message_to_python = lambda raw: raw
        queues = [Queue(name, Exchange(""), no_declare=True) for name in self.waiting]
        self.consumer = PullingConsumer(
            self.channel,
            queues,
            on_message=lambda message: self.taken.append(message.delivery_info["queue"]),
        )

    def _declare(self, name: str, passive: bool) -> Any:
        assert passive
        self.looks += name == "interactive"
        return SimpleNamespace(message_count=self.waiting[name])

    def _drain(self, timeout: float) -> None:
        assert timeout == 0
        if not self.record:
            raise TimeoutError
        self.record.pop(0)()

    def take(self, after_seconds: float = MIN_QUEUE_LOOK_SECONDS) -> None:
        self.clock.now += after_seconds
        self.consumer.take(lambda: True)

    def idle(self, seconds: float) -> int:
        """How often it looks in so many seconds, in which it could do so at each tick."""
        before = self.looks
        for _ in range(round(seconds / MIN_QUEUE_LOOK_SECONDS)):
            self.take()
        return self.looks - before

    @property
    def asked(self) -> list[str]:
        return [call.args[0] for call in self.channel.basic_consume.call_args_list]

    def deliver(self) -> Any:
        """Send the last consumer a message."""
        message = SimpleNamespace(delivery_info={}, delivery_tag=7)
        self.channel.basic_consume.call_args.kwargs["callback"](message)
        return message


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    clock = Clock()
    monkeypatch.setattr(pulling_consumer, "time", clock)
    return Broker(clock)


def test_without_room_it_asks_for_nothing(broker: Broker) -> None:
    broker.waiting["bulk"] = 1
    broker.consumer.take(lambda: False)
    assert broker.asked == []


def test_it_consumes_for_one_message_of_the_first_queue_in_which_any_wait(broker: Broker) -> None:
    broker.take()
    assert broker.asked == []
    broker.waiting.update(interactive=1, bulk=1)
    broker.take()
    assert broker.asked == ["interactive"]
    broker.deliver()
    assert broker.taken == ["interactive"]
    (tag,) = [call.args[0] for call in broker.channel.basic_cancel.call_args_list]
    assert tag == broker.channel.basic_consume.call_args.kwargs["consumer_tag"]


def test_it_looks_again_where_another_worker_was_faster(broker: Broker) -> None:
    broker.waiting["bulk"] = 1
    broker.take()
    broker.waiting.update(interactive=1, bulk=0)
    broker.take()
    assert broker.channel.basic_cancel.call_count == 1
    assert broker.asked == ["bulk", "interactive"]


def test_what_was_read_with_an_answer_is_handled_at_once_and_the_next_is_asked_for(
    broker: Broker,
) -> None:
    broker.waiting["bulk"] = 1
    broker.record = [broker.deliver, broker.deliver]
    broker.take()
    assert broker.taken == ["bulk", "bulk"]
    assert broker.asked == ["bulk", "bulk"]


def test_the_longer_it_is_idle_the_less_often_it_looks(broker: Broker) -> None:
    first, second, later = broker.idle(1), broker.idle(9), broker.idle(100)
    assert first > 10
    assert second < 9 / MIN_QUEUE_LOOK_SECONDS / 3
    # At each look there is a tick of up to the shortest pause on top.
    assert later <= 100 / MAX_QUEUE_LOOK_SECONDS
    assert later >= 100 / (MAX_QUEUE_LOOK_SECONDS + 2 * MIN_QUEUE_LOOK_SECONDS)
    broker.waiting["bulk"] = 1
    broker.take(MAX_QUEUE_LOOK_SECONDS)
    broker.waiting["bulk"] = 0
    broker.deliver()
    assert broker.idle(1) > 10


def test_who_was_busy_looks_often_again(broker: Broker) -> None:
    broker.idle(100)
    for _ in range(10):
        broker.clock.now += MAX_QUEUE_LOOK_SECONDS
        broker.consumer.take(lambda: False)
    assert broker.idle(1) > 10


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_a_message_that_comes_to_a_worker_that_stops_goes_back(broker: Broker, end: str) -> None:
    broker.waiting["bulk"] = 1
    broker.take()
    getattr(broker.consumer, end)()
    message = broker.deliver()
    broker.channel.basic_reject.assert_called_once_with(message.delivery_tag, requeue=True)
    assert broker.taken == []
