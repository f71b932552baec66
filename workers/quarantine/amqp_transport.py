"""Kombu's RabbitMQ transport, with malformed deliveries kept instead of killing the worker.

py-amqp reads a delivery's properties within the connection's own reading, where what it cannot read
would end the connection, again and again. Kombu unpacks compressed bodies at once.
``PROPERTY_CLASSES`` and ``dispatch_method`` are private API: py-amqp is pinned, and tests hold it
to what is used here.
"""

from __future__ import annotations

from typing import Any

from amqp import serialization, spec
from kombu.transport import pyamqp

from shared.broker.deliveries import Delivery
from workers.quarantine.envelope import open_properties
from workers.quarantine.inspection import Malformed

_RAW, _UNREADABLE = "properties as they came", "why they cannot be read"
_read = serialization.decode_properties_basic
# Before the exchange's name: the method's number, the consumer's tag, the delivery's and a flag.
_METHOD_BYTES, _TAG_AND_FLAG_BYTES = 4, 9


def _read_properties(data: bytes, offset: int) -> tuple[dict[str, Any], int]:
    """The properties, with their bytes; or, in place of what cannot be read, why."""
    properties: dict[str, Any]
    try:
        properties, end = _read(data, offset)
    except Exception as error:  # noqa: BLE001 - no message ends the connection, whatever is in it
        properties, end = {_UNREADABLE: repr(error)}, len(data)
    return {**properties, _RAW: bytes(data[offset:])}, end


serialization.PROPERTY_CLASSES[spec.Basic.CLASS_ID] = _read_properties


class Message(pyamqp.Message):  # type: ignore[misc]
    """A delivery of which kombu sees only what is used; ``problem``: what is wrong with the rest.

    Remote control, which comes this way too, is given no headers but these either.
    """

    def __init__(self, delivered: Any, channel: Any = None, **options: Any) -> None:
        self.problem: Malformed | None = None
        self._came_with = delivered.properties
        try:
            delivered.properties = _open(delivered.properties)
        except Malformed as problem:
            self.problem = problem
            kinds = ("content_type", "content_encoding")
            delivered.properties = {name: self._came_with.get(name) for name in kinds}
        super().__init__(delivered, channel, **options)
        self._came_as: bytes = self.body or b""  # Celery is given another body to read

    @property
    def item(self) -> bytes | None:
        """The delivery as bytes; None for remote control, whose queues go with their workers."""
        if self.delivery_info["consumer_tag"] in self.channel.no_ack_consumers:
            return None
        return Delivery(self._came_with[_RAW], self._came_as).to_raw()

    @property
    def queue(self) -> str:
        """The queue that it was taken from, whatever its sender says."""
        return str(self.delivery_info["queue"])


def _open(properties: dict[str, Any]) -> dict[str, Any]:
    if _UNREADABLE in properties:
        raise Malformed("envelope", f"its properties cannot be read: {properties[_UNREADABLE]}")
    return open_properties(properties)


class Channel(pyamqp.Channel):  # type: ignore[misc]
    """A channel that gives bodies as bytes, and does not read where they were sent to."""

    Message = Message

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.auto_decode = False  # by whatever encoding the sender names, for as long as that takes

    def dispatch_method(self, method: tuple[int, int], payload: bytes, content: Any) -> Any:
        if method == spec.Basic.Deliver:
            # The names of exchange and routing key come next, which may be no texts.
            end = _METHOD_BYTES + 1 + payload[_METHOD_BYTES] + _TAG_AND_FLAG_BYTES
            payload = bytes(payload[:end]) + b"\0\0"
        return super().dispatch_method(method, payload, content)


class Connection(pyamqp.Connection):  # type: ignore[misc]
    """A connection with our channels."""

    Channel = Channel


class Transport(pyamqp.Transport):  # type: ignore[misc]
    """Kombu's RabbitMQ transport with our channels."""

    Connection = Connection


class SSLTransport(pyamqp.SSLTransport):  # type: ignore[misc]
    """The same, encrypted."""

    Connection = Connection
