"""Asking RabbitMQ for one message at a time; ``integration/test_lanes.py`` asks a real one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from kombu import Exchange, Queue

from workers.quarantine import pulling_consumer
from workers.quarantine.pulling_consumer import PullingConsumer


class Broker:
    """A channel whose queues are filled and whose deliveries are made by hand."""

    def __init__(self) -> None:
        self.waiting = {"interactive": 0, "bulk": 0}
        self.taken: list[str] = []
        self.channel = MagicMock(callbacks={})
        self.channel.queue_declare = lambda name, passive: SimpleNamespace(
            message_count=self.waiting[name]
        )
        self.channel.message_to_python = lambda raw: raw
        queues = [Queue(name, Exchange(""), no_declare=True) for name in self.waiting]
        self.consumer = PullingConsumer(
            self.channel,
            queues,
            on_message=lambda message: self.taken.append(message.delivery_info["queue"]),
        )

    def take(self) -> None:
        self.consumer.take(lambda: True)

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
    monkeypatch.setattr(pulling_consumer, "LOOK_SECONDS", 0.0)
    return Broker()


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
    broker.take()
    assert broker.asked == ["bulk", "interactive"]


def test_a_message_that_comes_to_a_worker_that_stops_goes_back(broker: Broker) -> None:
    broker.waiting["bulk"] = 1
    broker.take()
    broker.consumer.cancel()
    message = broker.deliver()
    broker.channel.basic_reject.assert_called_once_with(message.delivery_tag, requeue=True)
    assert broker.taken == []
