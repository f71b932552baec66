"""Kombu's Redis transport, with malformed envelopes kept instead of killing the worker.

``Channel._brpop_read`` is private API: kombu is pinned, and a test holds it to what is used here.
"""

from __future__ import annotations

import base64
import json
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis

from workers.quarantine.ward import Ward

_ward: Ward | None = None


class Channel(kombu_redis.Channel):  # type: ignore[misc]
    """A channel that looks at an envelope before kombu unpacks it."""

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
            envelope, problem = self._open(item)
            if problem is None:
                self.connection._deliver(envelope, queue)
            elif _ward is not None:
                _ward.admit(layer="envelope", reason=problem, raw=item)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _open(self, item: bytes) -> tuple[dict[str, Any], str | None]:
        try:
            envelope = json.loads(item)
        except (ValueError, RecursionError) as error:
            return {}, f"not JSON: {error}"
        problem = _problem(envelope)
        if problem is None:
            try:
                self.Message(envelope, channel=self)
            except Exception as error:  # noqa: BLE001 - whatever kombu cannot unpack is malformed
                problem = f"cannot be unpacked: {type(error).__name__}: {error}"
        return envelope, problem


def _problem(envelope: Any) -> str | None:
    if not isinstance(envelope, dict):
        return "not an object"
    properties = envelope.get("properties")
    if not isinstance(properties, dict):
        return "without properties"
    delivery = properties.get("delivery_info")
    if not isinstance(delivery, dict):
        return "without delivery info"
    texts = {
        "delivery_tag": properties.get("delivery_tag"),
        "exchange": delivery.get("exchange"),
        "routing_key": delivery.get("routing_key"),
        "body": envelope.get("body"),
    }
    for name, value in texts.items():
        if not isinstance(value, str):
            return f"its {name} is no text"
    if properties.get("body_encoding") != "base64":
        return "its body encoding is not base64"
    if not isinstance(envelope.get("headers"), dict):
        return "its headers are no object"
    try:
        base64.b64decode(envelope["body"], validate=True)  # kombu's own skips what it cannot read
    except ValueError as error:
        return f"its body is not base64: {error}"
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
