"""Redis or Valkey as the broker: kombu's messages in Redis's lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

import redis
from kombu import Connection
from kombu.exceptions import OperationalError
from kombu.pools import producers

from shared.broker.errors import no_answer
from shared.broker.redis_client import redis_client
from shared.tls import redis_options

_TRANSPORT_OPTIONS: dict[str, Any] = {
    # Kombu would note in the broker, in two transactions, what a worker has, and bring it back by
    # clients' clocks. The ledger knows sooner what is missing.
    "ack_emulation": False,
    "priority_steps": [0],
    "socket_timeout": 15,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 10,
}
# For a person who asks whether the broker is there.
_LOOK_SECONDS = 3


class RedisQueues:
    """The queues of one Redis; see ``shared.broker.queues.Queues``."""

    def __init__(self, url: str, ca_file: Path | None) -> None:
        self._url, self._ca_file = url, ca_file
        self._ssl = redis_options(url, ca_file)
        self._redis = redis_client(url, ca_file)
        self.queue_arguments: dict[str, Any] = {}
        self.celery_options: dict[str, Any] = {
            "broker_use_ssl": self._ssl or None,
            "broker_transport_options": _TRANSPORT_OPTIONS,
            "worker_disable_prefetch": True,
        }

    def put(self, queue: str, payload: str, headers: dict[str, str]) -> None:
        """Put a message into ``queue``."""
        try:
            with producers[self._connection].acquire(block=True, timeout=10) as producer:
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

    @staticmethod
    def put_back(letters: Any, queue: str, raw: bytes) -> object:
        """Put a message back in one transaction with what the pipeline ``letters`` does."""
        return letters.lpush(queue, raw)

    def length(self, queue: str) -> int:
        """How many messages wait in ``queue``."""
        try:
            return int(self._redis.llen(queue))
        except redis.RedisError as error:
            raise no_answer("broker", error) from error

    def discard(self, queue: str) -> None:
        """Drop the messages that wait in ``queue``."""
        try:
            self._redis.delete(queue)
        except redis.RedisError as error:
            raise no_answer("broker", error) from error

    def prepare(self, queues: Iterable[str]) -> None:
        """Do nothing: a list is there as soon as something is in it."""

    def server(self) -> str | None:
        """None, if it answers. Raises redis.RedisError if it does not."""
        with closing(self._look()) as client:
            client.ping()
        return None

    def listeners(self, workers: Collection[str]) -> Counter[str]:  # noqa: ARG002
        """How many connections listen for remote control, by user; raises redis.RedisError.

        Each worker has one. Its other connections prove nothing: dead letters go to the settings'
        broker in any case.
        """
        found: Counter[str] = Counter()
        with closing(self._look()) as client:
            database = str(client.connection_pool.connection_kwargs.get("db") or 0)
            for connection in client.client_list():
                if connection["db"] == database and connection["psub"] != "0":
                    found[connection.get("user", "")] += 1
        return found

    def close(self) -> None:
        """Close the connections, but those of kombu's pool, which is shared."""
        self._redis.close()

    @cached_property
    def _connection(self) -> Connection:
        """Made when it is first used: kombu remembers which transport it found then.

        A worker installs transports of its own after its queues are there.
        """
        return Connection(self._url, ssl=self._ssl or None, transport_options=_TRANSPORT_OPTIONS)

    def _look(self) -> Any:
        return redis_client(self._url, self._ca_file, timeout_seconds=_LOOK_SECONDS)
