"""The Celery application and the one way to send a message.

``app`` is configured when it is first used; ``celery -A shared.broker.celery_app`` finds it, too.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import amqp
import redis
from celery import Celery
from celery.loaders.app import AppLoader
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError

from shared.broker import rabbitmq
from shared.broker.errors import no_answer
from shared.broker.redis_client import redis_client
from shared.broker.signing import sign
from shared.errors import PermanentError
from shared.messages import MAX_MESSAGE_BYTES, Message
from shared.settings import Settings, load_settings
from shared.stages import VERSION
from shared.tls import amqp_options, redis_options

# Messages go to queues directly: an exchange's binding would be lost with a wiped broker.
_DIRECT = Exchange("")

_ON_REDIS: dict[str, Any] = {
    "worker_disable_prefetch": True,
    "broker_transport_options": {
        # Kombu would note in the broker, in two transactions, what a worker has, and bring it
        # back by clients' clocks. The ledger knows sooner what is missing.
        "ack_emulation": False,
        "priority_steps": [0],
        "socket_timeout": 15,
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "health_check_interval": 10,
    },
}
_ON_RABBITMQ: dict[str, Any] = {
    "broker_heartbeat": 10,
    # A channel that RabbitMQ closes, for a chunk that took longer than its consumer_timeout.
    "broker_channel_error_retry": True,
}


def queue_of(name: str) -> Queue:
    """A queue that is addressed by its name alone. What kind it is concerns RabbitMQ only."""
    return Queue(name, exchange=_DIRECT, routing_key=name, queue_arguments=rabbitmq.QUORUM)


def consume(app: Celery, names: Sequence[str]) -> None:
    """Have a worker of this application take from these queues, which are bound to nothing."""
    app.conf.task_queues = [queue_of(name) for name in names]
    for name in names:
        # For a queue without an exchange Celery would make one, bind it, and want rights on it.
        app.amqp.queues[name].exchange = _DIRECT


def make_app(settings: Settings) -> Celery:
    """The application, whoever it is that runs it."""
    url, ca_file = settings.broker_url, settings.ca_file
    _forget_celerys_variables()
    app = Celery("headrace", broker=url, loader=AppLoader, fixups=[], set_as_current=False)
    app.conf.update(
        broker_use_ssl=redis_options(url, ca_file) or amqp_options(url, ca_file) or None,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_default_queue=f"{VERSION}.unrouted",
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        **(_ON_RABBITMQ if rabbitmq.speaks_amqp(url) else _ON_REDIS),
    )
    return app


def _forget_celerys_variables() -> None:
    """Celery prefers these variables to its arguments."""
    for name in [name for name in os.environ if name.startswith("CELERY_")]:
        del os.environ[name]


@cache
def _observer_app() -> Celery:
    return make_app(load_settings())


def __getattr__(name: str) -> Any:
    if name == "app":
        return _observer_app()
    raise AttributeError(name)


class _Queues(Protocol):
    """The broker's queues. Methods raise TransientError when it does not answer."""

    def put(self, queue: str, payload: str, headers: dict[str, str]) -> None: ...
    def length(self, queue: str) -> int: ...
    def discard(self, queue: str) -> None: ...


class MessagePublisher:
    """Signs messages and sends them. Thread-safe. Raises TransientError when nobody answers."""

    def __init__(self, settings: Settings) -> None:
        self._key = settings.signing_keys[0]
        on_rabbitmq = rabbitmq.speaks_amqp(settings.broker_url)
        self._queues: _Queues = (_OnRabbitMQ if on_rabbitmq else _OnRedis)(settings)

    def send(self, task: str, queue: str, message: Message) -> None:
        """Send one message to ``queue``, for ``task``.

        Raises PermanentError ``message_too_large`` for what nobody would take.
        """
        message_id, body = str(uuid.uuid4()), message.model_dump_json()
        signature = sign(self._key, task, queue, message_id, body)
        payload = json.dumps([[body, signature], {}, {}], ensure_ascii=False)
        payload_bytes = len(payload.encode())
        if payload_bytes > MAX_MESSAGE_BYTES:
            raise PermanentError(
                "message_too_large",
                f"A message of {payload_bytes} bytes is over {MAX_MESSAGE_BYTES}.",
                "Use a smaller --chunk-items, or a smaller top_k.",
            )
        label = f"{message.job_id} chunk {message.chunk} attempt {message.attempt}"
        self._queues.put(queue, payload, {"task": task, "id": message_id, "argsrepr": label})

    def ready_length(self, queue: str) -> int:
        """How many messages wait in ``queue`` and are with no worker."""
        return self._queues.length(queue)

    def discard(self, queue: str) -> None:
        """Drop the messages that wait in ``queue``, which may be used again."""
        self._queues.discard(queue)


class _OnRedis:
    """Kombu's messages in Redis's lists."""

    def __init__(self, settings: Settings) -> None:
        self._app = make_app(settings)
        self._redis = redis_client(settings.broker_url, settings.ca_file)

    def put(self, queue: str, payload: str, headers: dict[str, str]) -> None:
        try:
            with self._app.producer_pool.acquire(block=True, timeout=10) as producer:
                producer.publish(
                    payload,
                    routing_key=queue,
                    exchange="",
                    headers=headers,
                    correlation_id=headers["id"],
                    content_type="application/json",
                    content_encoding="utf-8",
                    retry=False,
                )
        except (OperationalError, redis.RedisError, OSError) as error:
            raise no_answer("broker", error) from error

    def length(self, queue: str) -> int:
        try:
            return int(self._redis.llen(queue))
        except redis.RedisError as error:
            raise no_answer("broker", error) from error

    def discard(self, queue: str) -> None:
        try:
            self._redis.delete(queue)
        except redis.RedisError as error:
            raise no_answer("broker", error) from error


class _OnRabbitMQ:
    """The same messages in RabbitMQ's quorum queues."""

    def __init__(self, settings: Settings) -> None:
        self._queues = rabbitmq.connect_queues(settings)
        self.length, self.discard = self._queues.length, self._queues.discard

    def put(self, queue: str, payload: str, headers: dict[str, str]) -> None:
        message = amqp.Message(
            payload,
            application_headers=headers,
            correlation_id=headers["id"],
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=2,
        )
        self._queues.put(queue, message)
