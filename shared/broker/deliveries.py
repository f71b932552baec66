"""What RabbitMQ delivers, as the bytes of a dead letter, and made a message again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from reprlib import Repr

import amqp
from amqp.serialization import decode_properties_basic

# What the dead letters' server takes in one piece is 16 MiB; a body this large stays malformed.
MAX_BODY_BYTES = 12 * 2**20
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 200


@dataclass(frozen=True, slots=True)
class Delivery:
    """``properties`` and ``body`` are the bytes as they went over the wire.

    Properties are what AMQP has for an envelope: content type, headers and the like.
    """

    properties: bytes
    body: bytes

    def to_raw(self) -> bytes:
        """A line of JSON for people, then the properties and the body, cut to 12 MiB."""
        line = {"properties_bytes": len(self.properties), "properties": self._readable()}
        return json.dumps(line).encode() + b"\n" + self.properties + self.body[:MAX_BODY_BYTES]

    @classmethod
    def from_raw(cls, raw: bytes) -> Delivery:
        """What ``to_raw`` was called on."""
        line, _, rest = raw.partition(b"\n")
        size = json.loads(line)["properties_bytes"]
        return cls(rest[:size], rest[size:])

    def as_it_was(self) -> amqp.Message:
        """The same message once more, whether its properties can be read or not."""
        return _AsItWas(self)

    def _readable(self) -> dict[str, str]:
        try:
            properties, _ = decode_properties_basic(self.properties, 0)
        except Exception as error:  # noqa: BLE001 - whatever it is, that is what there is to say
            return {"unreadable": repr(error)}
        return {name: _SHORT.repr(value) for name, value in properties.items()}


class _AsItWas(amqp.Message):  # type: ignore[misc]
    """``_serialize_properties`` is private API: py-amqp is pinned, and a test holds it to this."""

    def __init__(self, delivery: Delivery) -> None:
        super().__init__(delivery.body)
        self._as_they_were = delivery.properties

    def _serialize_properties(self) -> bytes:
        return self._as_they_were
