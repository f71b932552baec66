"""Kombu's Redis transport, with malformed envelopes kept instead of killing the worker; and which
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
from workers.quarantine.ward import Ward

_ward: Ward | None = None


class Message(virtual.Message):  # type: ignore[misc]
    """A message whose envelope was opened before: ``problem`` says that nothing was wrong in it."""

    problem: Malformed | None = None

    @property
    def item(self) -> bytes | None:
        """The bytes as they lay in the queue; None for remote control, which lies in none."""
        return self._raw.item if isinstance(self._raw, Envelope) else None


class Channel(kombu_redis.Channel):  # type: ignore[misc]
    """A channel that looks at an envelope before kombu unpacks it."""

    Message = Message

    def _restore(self, message: Any, leftmost: bool = False) -> None:
        """Back to its queue as it lay there: a worker that ends has begun nothing with it."""
        push = "RPUSH" if leftmost else "LPUSH"
        with self.conn_or_acquire() as client:
            client.execute_command(push, message.delivery_info["routing_key"], message._raw.item)

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
            envelope = _open(item, queue)
            if envelope is not None:
                self.connection._deliver(envelope, queue)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()


def _open(item: bytes, queue: str) -> Envelope | None:
    """The envelope, or None where it went to the dead letters. Raises nothing."""
    try:
        return open_envelope(item, queue)
    except Malformed as problem:
        layer, reason = problem.layer, problem.reason
    except Exception as error:  # noqa: BLE001 - no message ends the worker, whatever is in it
        layer, reason = "envelope", f"cannot be opened: {error!r}"
    if _ward is not None:
        _ward.admit(layer=layer, reason=reason, raw=item)
    return None


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    """Kombu's Redis transport with our channel."""

    Channel = Channel


def install(ward: Ward) -> None:
    """Use our transports in this process; of Redis's, ``ward`` takes the malformed envelopes."""
    global _ward
    _ward = ward
    for alias in ("redis", "rediss"):
        TRANSPORT_ALIASES[alias] = f"{__name__}:Transport"
    for alias, name in (("amqp", "Transport"), ("amqps", "SSLTransport")):
        TRANSPORT_ALIASES[alias] = f"workers.quarantine.amqp_transport:{name}"
