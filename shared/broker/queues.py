"""The broker's queues, whichever server keeps them, and the one place that chooses the server.

The broker is a RabbitMQ where ``broker_url`` begins with ``amqp://`` or ``amqps://``, and otherwise
a Redis (or Valkey). What concerns only one of them is in ``rabbitmq`` or ``redis_queues``, and only
the module in use is imported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from typing import Any, Protocol

from shared.settings import Settings


class Queues(Protocol):
    """The broker's queues. Thread-safe; connects when it is first asked something.

    Methods raise TransientError ``broker_unavailable`` when the broker does not answer.
    """

    @property
    def celery_options(self) -> Mapping[str, Any]:
        """Celery's settings that only this broker needs, encryption among them."""

    @property
    def queue_arguments(self) -> Mapping[str, Any]:
        """What kind of queue a worker declares."""

    def put(self, queue: str, payload: str, headers: dict[str, str]) -> None:
        """Put a message into ``queue``; ``headers`` has its ``id``."""

    def put_back(self, letters: Any, queue: str, raw: bytes) -> object:
        """Put a dead letter's bytes back into ``queue`` as they were.

        ``letters``: a pipeline of the server that keeps the dead letters. Where that server has the
        queues, too, the message is put back in the pipeline's transaction.
        """

    def length(self, queue: str) -> int:
        """How many messages wait in ``queue`` and are with no worker."""

    def discard(self, queue: str) -> None:
        """Drop the messages that wait in ``queue``; its consumers keep consuming it."""

    def prepare(self, queues: Iterable[str]) -> None:
        """Make ``queues`` where the broker must have them before anything is put into them."""

    def server(self) -> str | None:
        """Which server answers, such as ``RabbitMQ 3.10.8``; None for one that does not say.

        May raise redis.RedisError, too.
        """

    def listeners(self, workers: Collection[str]) -> Counter[str]:
        """How many connections listen for Celery's remote control, as each worker has one.

        Counted by worker (``process@host``) where the broker knows ``workers`` by name, and by the
        broker's user where it does not. May raise redis.RedisError, too.
        """

    def close(self) -> None:
        """Close the connections."""


def is_rabbitmq(url: str) -> bool:
    """Is this the address of a RabbitMQ, and not of a Redis?"""
    return url.startswith(("amqp://", "amqps://"))


def connect_queues(settings: Settings) -> Queues:
    """The queues of the settings' broker. Raises UsageError ``bad_ca_file``."""
    if is_rabbitmq(settings.broker_url):
        from shared.broker.rabbitmq import RabbitQueues

        return RabbitQueues(settings.broker_url, settings.ca_file)
    from shared.broker.redis_queues import RedisQueues

    return RedisQueues(settings.broker_url, settings.ca_file)


def prepare_queues(settings: Settings, queues: Iterable[str] = ()) -> None:
    """Make ``queues`` where the settings' broker must have them before it is used.

    Raises TransientError ``broker_unavailable`` where a RabbitMQ does not answer, does not let us
    in, or does not give us these queues. A Redis is not asked: its lists need no preparation.
    """
    with closing(connect_queues(settings)) as broker:
        broker.prepare(queues)


def letters_url(settings: Settings) -> str:
    """Which Redis keeps the dead letters: the broker, or the ledger's where the broker is none."""
    return settings.ledger_url if is_rabbitmq(settings.broker_url) else settings.broker_url
