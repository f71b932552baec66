"""Taking one message at a time from a real RabbitMQ, at moments that a worker seldom meets."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from kombu import Connection

from shared.broker.celery_app import queue_of
from shared.broker.publisher import MessagePublisher
from shared.broker.rabbitmq import RabbitQueues
from shared.settings import Settings
from shared.stages import PREPROCESS
from shared.tls import amqp_options
from tests.support import samples
from tests.support.injection.proxy import Peer
from tests.support.rabbitmq_server import RabbitServer
from tests.support.tls import PART_BYTES, Authority, TlsFront
from tests.support.waiting import wait_for
from workers.quarantine.pulling_consumer import PullingConsumer

# AMQP's class and method, as they stand in a frame.
CONSUME_OK = b"\x00\x3c\x00\x15"
# How a message's body ends, with the byte that ends its frame.
BODY_END = b"{}, {}]\xce"


@pytest.fixture
def settings(tmp_path: Path, rabbit: RabbitServer) -> Settings:
    return samples.settings(tmp_path).model_copy(update={"broker_url": rabbit.url})


@pytest.fixture
def queues(settings: Settings) -> Iterator[RabbitQueues]:
    with closing(RabbitQueues(settings.broker_url, None)) as queues:
        yield queues


@pytest.fixture
def queue(queues: RabbitQueues) -> str:
    name = f"v6.test.{secrets.token_hex(6)}"
    queues.declare(name)
    return name


class Taker:
    """A consumer of one queue that has always room."""

    def __init__(self, connection: Connection, queue: str) -> None:
        self.taken: list[Any] = []
        self.consumer = PullingConsumer(
            connection.channel(),
            [queue_of(queue)],
            on_message=self.taken.append,
            auto_declare=False,
        )
        self.consumer.consume()

    def take(self) -> None:
        self.consumer.take(lambda: not self.taken)


class OneRecordFront(TlsFront):
    """Sends the message that a consumer is given in one TLS record with the answer before it."""

    async def copy_back(self, server: Peer, client: Peer) -> None:
        while data := await server.reader.read(PART_BYTES):
            while CONSUME_OK in data and BODY_END not in data:
                data += await server.reader.read(PART_BYTES)
            await client.send(data)


def test_a_message_in_one_tls_record_with_an_answer_is_taken_at_once(
    settings: Settings, rabbit: RabbitServer, authority: Authority, queue: str
) -> None:
    """It lies in the process then, and the socket has nothing more to say."""
    MessagePublisher(settings).send(PREPROCESS.task, queue, samples.chunk())
    user = urlsplit(rabbit.url).netloc.rpartition("@")[0]
    with OneRecordFront(rabbit.port, authority.certify()) as front:
        url = f"amqps://{user}@127.0.0.1:{front.port}/"
        with Connection(url, ssl=amqp_options(url, authority.ca_file)) as connection:
            taker = Taker(connection, queue)
            taker.take()
            assert len(taker.taken) == 1
            taker.taken[0].ack()


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_a_message_that_comes_while_the_consumer_ends_goes_back(
    settings: Settings,
    queues: RabbitQueues,
    queue: str,
    end: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publisher = MessagePublisher(settings)
    publisher.send(PREPROCESS.task, queue, samples.chunk())
    with Connection(settings.broker_url) as connection:
        taker = Taker(connection, queue)
        channel = taker.consumer.channel
        consume = channel.basic_consume

        def after_another_worker(*args: Any, **options: Any) -> Any:
            queues.discard(queue)
            return consume(*args, **options)

        monkeypatch.setattr(channel, "basic_consume", after_another_worker)
        taker.take()
        assert taker.taken == []
        publisher.send(PREPROCESS.task, queue, samples.chunk())
        wait_for(lambda: queues.length(queue) == 0, what="the message on its way")

        getattr(taker.consumer, end)()
        wait_for(lambda: queues.length(queue) == 1, what="the message back in its queue")
        assert taker.taken == []
        assert queues.consumers(queue) == 0
