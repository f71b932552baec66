"""Kombu's Redis transport, with malformed envelopes marked instead of killing the worker; and which
transports of ours stand in for kombu's.

``Channel._brpop_read`` is private API: kombu is pinned, and a test holds it to what is used here.
"""

from __future__ import annotations

from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport import redis as kombu_redis

from workers.quarantine.envelope import Envelope, open_envelope
from workers.quarantine.inspection import Malformed
from workers.quarantine.lanes import LaneOrder


class Message(virtual.Message):  # type: ignore[misc]
    """A message whose envelope was opened before."""

    @property
    def problem(self) -> Malformed | None:
        """What is wrong with the envelope, of which nothing was unpacked then."""
        return self._raw.problem if isinstance(self._raw, Envelope) else None

    @property
    def item(self) -> bytes | None:
        """The bytes as they lay in the queue; None for remote control, which lies in none."""
        return self._raw.item if isinstance(self._raw, Envelope) else None

    @property
    def queue(self) -> str:
        """The queue that it was taken from, whatever its sender says."""
        return str(self.delivery_info["routing_key"])


class Channel(kombu_redis.Channel):  # type: ignore[misc]
    """A channel that looks at an envelope before kombu unpacks it."""

    Message = Message
    queue_order_strategy = LaneOrder

    def _restore(self, message: Any, leftmost: bool = False) -> None:
        """Back to its queue as it lay there: a worker that ends has begun nothing with it."""
        push = "RPUSH" if leftmost else "LPUSH"
        with self.conn_or_acquire() as client:
            client.execute_command(push, message.queue, message.item)

    def _brpop_read(self, **options: Any) -> bool:
        try:
            try:
                popped = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            if not popped:
                raise Empty
            key, item = popped
            queue = key.decode().rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            self.connection._deliver(_open(item, queue), queue)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()


def _open(item: bytes, queue: str) -> Envelope:
    """The envelope, or an empty one with what is wrong. Raises nothing."""
    try:
        return open_envelope(item, queue)
    except Malformed as malformed:
        problem = malformed
    except Exception as error:  # noqa: BLE001 - no message ends the worker, whatever is in it
        problem = Malformed("envelope", f"cannot be opened: {error!r}")
    return Envelope.unopened(item, queue, problem)


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    """Kombu's Redis transport with our channel."""

    Channel = Channel


def install() -> None:
    """Use our transports in this process."""
    for alias in ("redis", "rediss"):
        TRANSPORT_ALIASES[alias] = f"{__name__}:Transport"
    for alias, name in (("amqp", "Transport"), ("amqps", "SSLTransport")):
        TRANSPORT_ALIASES[alias] = f"workers.quarantine.amqp_transport:{name}"
