"""The malformed messages as AMQP can say them, and those that only AMQP can say."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import amqp

from shared.broker.deliveries import Delivery
from tests.support import malformed, samples
from tests.support.malformed import Case, Make, Target, valid

# What lies around the message in Redis is RabbitMQ's own affair here.
_NOT_SAID = malformed.ENVELOPE
_MAX_SHORT = 255


def delivery_of(raw: bytes) -> Delivery:
    """What kombu's envelope ``raw`` says, in AMQP's terms; or the delivery that ``raw`` is.

    Raises ValueError where AMQP has no words for it.
    """
    if raw.startswith(b'{"properties_bytes"'):
        return Delivery.from_raw(raw)
    whole = json.loads(raw)
    properties = {
        "content_type": _short(whole.get("content-type")),
        "content_encoding": _short(whole.get("content-encoding")),
        "application_headers": _table(whole.get("headers")),
        "delivery_mode": 2,
    }
    return _delivery(properties, base64.b64decode(whole["body"]))


def _delivery(properties: dict[str, Any], body: bytes) -> Delivery:
    written = {name: value for name, value in properties.items() if value is not None}
    return Delivery(amqp.Message(**written)._serialize_properties(), body)


def _short(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value.encode("utf-8", "surrogatepass")) > _MAX_SHORT:
        raise ValueError(value)
    return value


def _table(value: Any) -> dict[str, Any] | None:
    if not (value is None or isinstance(value, dict)):
        raise ValueError(value)
    return value


def can_say(case: Case) -> bool:
    """Can AMQP carry this?"""
    target = Target("preprocess", "q", "key", samples.chunk())
    try:
        delivery_of(case.make(target))
    except ValueError:
        return False
    return True


def _properties(**changes: Any) -> Make:
    """A valid message with other properties."""

    def make(target: Target) -> bytes:
        whole = valid(target)
        usual = {
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "application_headers": whole["headers"],
            "delivery_mode": 2,
        }
        return _delivery({**usual, **changes}, base64.b64decode(whole["body"])).to_raw()

    return make


def _header(data: bytes) -> Make:
    """A valid message's headers with one more, which is ``data``: its type and its value."""

    def make(target: Target) -> bytes:
        right = delivery_of(json.dumps(valid(target)).encode())
        start = right.properties.index(b"\x04task") - 4
        (size,) = struct.unpack(">I", right.properties[start : start + 4])
        table = b"\x01x" + data + right.properties[start + 4 : start + 4 + size]
        rest = right.properties[start + 4 + size :]
        written = right.properties[:start] + struct.pack(">I", len(table)) + table + rest
        return Delivery(written, right.body).to_raw()

    return make


def _nested(depth: int) -> bytes:
    data = b"V"
    for _ in range(depth):
        data = b"A" + struct.pack(">I", len(data)) + data
    return data


_NO_TEXT = b"\xff"  # in no UTF-8

OWN: dict[str, Case] = {
    f"{layer}: {name}": Case(layer, make)
    for layer, name, make in (
        ("envelope", "a content type that is no text", _properties(content_type=_NO_TEXT)),
        ("envelope", "an encoding that is no text", _properties(content_encoding=_NO_TEXT)),
        ("envelope", "a type that is no text", _properties(type=_NO_TEXT)),
        ("envelope", "an id that is no text", _properties(message_id=_NO_TEXT)),
        ("envelope", "a correlation that is no text", _properties(correlation_id=_NO_TEXT)),
        ("envelope", "a time beyond all calendars", _header(b"T" + b"\xff" * 8)),
        ("envelope", "headers nested too deep", _header(_nested(5000))),
        ("headers", "a task of bytes", _properties(application_headers={"task": b"\xff"})),
        ("content_type", "a slow encoding", _properties(content_encoding="punycode")),
        ("content_type", "an unknown encoding", _properties(content_encoding="no-such")),
    )
}


def cases(role: str) -> dict[str, Case]:
    """Everything that the queue of ``role`` must stand in RabbitMQ."""
    said = {name: case for name, case in malformed.cases(role).items() if name not in _NOT_SAID}
    fit = {"headers", "content_type", "compression"}
    return OWN | {name: c for name, c in said.items() if c.layer not in fit or can_say(c)}
