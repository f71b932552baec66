"""The Celery application and the one way to send a message.

``app``, which ``celery -A shared.celery_app`` finds too, is configured when it is first used.
"""

from __future__ import annotations

import json
import uuid
from functools import cache
from typing import Any

import redis
from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError

from shared.broker_errors import no_answer
from shared.errors import PermanentError, TransientError
from shared.messages import MAX_MESSAGE_BYTES, Message
from shared.settings import Settings, load_settings
from shared.signing import sign
from shared.tls import redis_options

# Messages go to queues directly: an exchange's binding would be lost with a wiped broker.
_DIRECT = Exchange("")


def queue_of(name: str) -> Queue:
    """A queue that is addressed by its name alone."""
    return Queue(name, exchange=_DIRECT, routing_key=name)


def make_app(settings: Settings) -> Celery:
    """The application, whoever it is that runs it."""
    app = Celery("headrace", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        broker_use_ssl=redis_options(settings.broker_url, settings.ca_file) or None,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_default_queue="v1.unrouted",
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_consumer="workers.quarantine.consumer:QuarantineConsumer",
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            # Kombu would note in the broker, in two transactions, what a worker has, and bring it
            # back by clients' clocks. The ledger knows sooner what is missing.
            "ack_emulation": False,
            "priority_steps": [0],
            "socket_timeout": 15,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    )
    return app


@cache
def _observer_app() -> Celery:
    return make_app(load_settings())


def __getattr__(name: str) -> Any:
    if name == "app":
        return _observer_app()
    raise AttributeError(name)


class Publisher:
    """Signs messages and sends them. Thread-safe. Raises TransientError when nobody answers."""

    def __init__(self, settings: Settings, app: Celery | None = None) -> None:
        self._key = settings.signing_keys[0]
        self._app = app or make_app(settings)
        self._redis = redis.Redis.from_url(
            settings.broker_url,
            socket_timeout=10,
            socket_connect_timeout=3,
            **redis_options(settings.broker_url, settings.ca_file),
        )

    def send(self, task: str, queue: str, message: Message) -> None:
        """Send one message to ``queue``, for ``task``.

        Raises PermanentError ``message_too_large`` for what nobody would take.
        """
        message_id, body = str(uuid.uuid4()), message.model_dump_json()
        signature = sign(self._key, task, queue, message_id, body)
        payload = json.dumps([[body, signature], {}, {}])
        if len(payload) > MAX_MESSAGE_BYTES:
            raise PermanentError(
                "message_too_large",
                f"A message of {len(payload)} bytes is over {MAX_MESSAGE_BYTES}.",
                "Take a smaller --batch-size, or a smaller top_k.",
            )
        label = f"{message.job_id} chunk {message.chunk} attempt {message.attempt}"
        try:
            with self._app.producer_pool.acquire(block=True, timeout=10) as producer:
                producer.publish(
                    payload,
                    routing_key=queue,
                    exchange="",
                    headers={"task": task, "id": message_id, "argsrepr": label},
                    correlation_id=message_id,
                    content_type="application/json",
                    content_encoding="utf-8",
                    retry=False,
                )
        except (OperationalError, redis.RedisError, OSError) as error:
            raise unavailable(error) from error

    def ready_length(self, queue: str) -> int:
        """How many messages wait in ``queue`` and are with no worker."""
        try:
            return int(self._redis.llen(queue))
        except redis.RedisError as error:
            raise unavailable(error) from error

    def discard(self, queue: str) -> None:
        """Drop the messages that wait in ``queue``, which may be used again."""
        try:
            self._redis.delete(queue)
        except redis.RedisError as error:
            raise unavailable(error) from error


def unavailable(error: Exception) -> TransientError:
    """That the broker does not answer, or does not let us in, in one line."""
    return no_answer("broker", error)
