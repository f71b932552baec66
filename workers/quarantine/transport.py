"""Kombu's Redis transport, with malformed envelopes kept instead of killing the worker.

``Channel._brpop_read`` is private API: kombu is pinned, and a test holds it to what is used here.
"""

from __future__ import annotations

from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis

from workers.quarantine.envelope import Envelope, open_envelope
from workers.quarantine.inspection import Malformed
from workers.quarantine.ward import Ward

_ward: Ward | None = None


class Channel(kombu_redis.Channel):  # type: ignore[misc]
    """A channel that looks at an envelope before kombu unpacks it."""

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
    """Use this transport for ``redis://`` and ``rediss://`` in this process."""
    global _ward
    _ward = ward
    for alias in ("redis", "rediss"):
        TRANSPORT_ALIASES[alias] = f"{__name__}:Transport"
