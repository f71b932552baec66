"""RabbitMQ as the broker.

Its queues are quorum queues. They are declared whenever something is put into one: RabbitMQ drops
without a word what it is to put into a queue that was deleted, or wiped with the whole server.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import amqp

from shared.broker.deliveries import Delivery
from shared.broker.errors import why
from shared.errors import HeadraceError, PermanentError, TransientError
from shared.tls import amqp_options

QUORUM = {"x-queue-type": "quorum"}
TIMEOUT_SECONDS = 10
_CONNECT_SECONDS = 3
_ERRORS = (amqp.AMQPError, amqp.exceptions.MessageNacked, OSError)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RabbitAddress:
    """What an AMQP URL says. ``vhost`` is the virtual host, ``/`` where the URL has no path."""

    place: str
    user: str
    password: str = field(repr=False)
    vhost: str

    @classmethod
    def of(cls, url: str) -> RabbitAddress:
        """The address in ``url``, with AMQP's own defaults for what it leaves out."""
        parts = urlsplit(url)
        port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
        return cls(
            f"{parts.hostname or '127.0.0.1'}:{port}",
            unquote(parts.username or "guest"),
            unquote(parts.password or "guest"),
            unquote(parts.path.removeprefix("/")) or "/",
        )


class RabbitQueues:
    """The queues of one RabbitMQ; see ``shared.broker.queues.Queues``.

    Thread-safe: one connection, and one call at a time. Methods raise TransientError
    ``broker_unavailable``, also for what RabbitMQ refuses: somebody may correct its users and their
    permissions while we wait.
    """

    def __init__(self, url: str, ca_file: Path | None) -> None:
        self._address = RabbitAddress.of(url)
        self._ssl = amqp_options(url, ca_file)
        self._connection: Any = None
        self._channel: Any = None
        self._lock = threading.Lock()
        self.queue_arguments = QUORUM
        self.celery_options: dict[str, Any] = {
            "broker_use_ssl": self._ssl or None,
            "broker_heartbeat": 10,
            # A channel that RabbitMQ closes, for a chunk that took longer than its
            # consumer_timeout.
            "broker_channel_error_retry": True,
        }

    def declare(self, queue: str) -> None:
        """Make ``queue`` unless it is there."""
        self._call(lambda channel: _declare(channel, queue))

    def prepare(self, queues: Iterable[str]) -> None:
        """Make ``queues``; without any, find out whether RabbitMQ lets us in."""
        for queue in queues:
            self.declare(queue)
        self.server()

    def put(self, queue: str, payload: str, headers: dict[str, str]) -> None:
        """Put a message of ours into ``queue``."""
        message = amqp.Message(
            payload,
            application_headers=headers,
            correlation_id=headers["id"],
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=2,
        )
        self.publish(queue, message)

    def put_back(self, _: Any, queue: str, raw: bytes) -> None:
        """Put a dead letter's bytes back into ``queue`` as they were."""
        self.publish(queue, Delivery.from_raw(raw).as_it_was())

    def publish(self, queue: str, message: amqp.Message) -> None:
        """Put any message into ``queue``; returned, it is on RabbitMQ's disk.

        Raises PermanentError ``message_too_large`` for one that RabbitMQ would never take.
        """

        def publish(channel: Any) -> None:
            _declare(channel, queue)
            channel.basic_publish(message, routing_key=queue, confirm_timeout=TIMEOUT_SECONDS)

        self._call(publish)

    def length(self, queue: str) -> int:
        """How many messages wait in ``queue`` and are with no worker; none where there is none."""

        def measure(channel: Any) -> int:
            try:
                return int(channel.queue_declare(queue, passive=True).message_count)
            except amqp.NotFound:
                return 0

        return self._call(measure)

    def consumers(self, queue: str) -> int:
        """How many take messages from ``queue``; none where there is none."""

        def measure(channel: Any) -> int:
            try:
                return int(channel.queue_declare(queue, passive=True).consumer_count)
            except amqp.NotFound:
                return 0

        return self._call(measure)

    def listeners(self, workers: Collection[str]) -> Counter[str]:
        """How many listen for remote control, by worker: each has a mailbox with its own name."""
        return Counter({name: self.consumers(f"{name}.celery.pidbox") for name in workers})

    def discard(self, queue: str) -> None:
        """Drop the messages that wait in ``queue``; its consumers keep consuming it."""

        def purge(channel: Any) -> None:
            with suppress(amqp.NotFound):
                channel.queue_purge(queue)

        self._call(purge)

    def server(self) -> str:
        """Which server answers, such as ``RabbitMQ 3.10.8``."""

        def name(_: Any) -> str:
            properties = self._connection.server_properties
            return f"{properties.get('product')} {properties.get('version')}"

        return self._call(name)

    def close(self) -> None:
        """Let go of the connection, in good order where RabbitMQ answers."""
        with self._lock:
            try:
                if self._connection is not None:
                    self._connection.close()
            except _ERRORS:
                pass  # it is gone already
            self._disconnect()

    def _call(self, action: Callable[[Any], _T]) -> _T:
        with self._lock:
            try:
                return action(self._open_channel())
            except _ERRORS as error:
                # What it still has to say would be taken for the answer to another call.
                self._disconnect()
                raise _explained(error, self._address) from error

    def _open_channel(self) -> Any:
        """The one channel. After an error of its own it is open again, as py-amqp does that."""
        if self._connection is None or not self._connection.connected:
            self._disconnect()
            self._connection = amqp.Connection(
                host=self._address.place,
                userid=self._address.user,
                password=self._address.password,
                virtual_host=self._address.vhost,
                login_method="PLAIN",
                ssl=self._ssl,
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=TIMEOUT_SECONDS,
                write_timeout=TIMEOUT_SECONDS,
                confirm_publish=True,
            )
            self._connection.connect()
            self._channel = self._connection.channel()
        return self._channel

    def _disconnect(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            connection.collect()


def _declare(channel: Any, queue: str) -> None:
    channel.queue_declare(queue, durable=True, auto_delete=False, arguments=QUORUM)


def _explained(error: Exception, address: RabbitAddress) -> HeadraceError:
    """One line, with what to do."""
    rabbit, hint = f"RabbitMQ at {address.place}", "Correct broker_url, or RabbitMQ's users."
    if isinstance(error, amqp.AccessRefused) and "Login was refused" in str(error):
        text = f"{rabbit} refuses user '{address.user}': the name or the password is wrong."
    elif isinstance(error, amqp.NotAllowed):
        text = f"{rabbit} gives user '{address.user}' no virtual host '{address.vhost}'."
    elif isinstance(error, amqp.PreconditionFailed) and "larger than" in error.reply_text:
        return PermanentError(
            "message_too_large", f"{rabbit}: {error.reply_text}.", "Raise its max_message_size."
        )
    elif isinstance(error, amqp.ChannelError):
        text, hint = f"{rabbit}: {error.reply_text}.", "Correct its permissions, or that queue."
    else:
        text, hint = f"{rabbit} does not answer ({why(error)}).", "Is it up? See broker_url."
    return TransientError("broker_unavailable", text, hint)
