"""The envelope: what kombu's Redis transport wraps around a message, or AMQP's own properties.

Kombu unpacks, decompresses and keeps what it is given, so it is given only what is used, of known
types and bounded lengths. The bytes as they lay in the queue go with it.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from typing import Any

from shared.messages import MAX_MESSAGE_BYTES
from workers.quarantine.inspection import Malformed

# A body of the largest size in base64, and what lies around it.
MAX_ENVELOPE_BYTES = MAX_MESSAGE_BYTES * 4 // 3 + 2**20
_MAX_TEXT_CHARS = 200


class Envelope(dict[str, Any]):
    """A message as kombu takes it.

    ``item``: the bytes that it was made of. ``problem``: why they could not be opened.
    """

    item: bytes = b""
    problem: Malformed | None = None

    @classmethod
    def unopened(cls, item: bytes, queue: str, problem: Malformed) -> Envelope:
        """In place of an element of ``queue`` that cannot be opened."""
        empty = cls(
            {
                "body": "",
                "headers": {},
                "properties": {
                    "delivery_tag": str(uuid.uuid4()),
                    "delivery_info": {"exchange": "", "routing_key": queue},
                },
            }
        )
        empty.item, empty.problem = item, problem
        return empty


def open_envelope(item: bytes, queue: str) -> Envelope:
    """Make of an element of ``queue`` what kombu can do no harm with, or raise Malformed.

    Where it goes back to, should it not be acknowledged, is the queue that it came from.
    """
    parsed = _parse(item)
    headers = _headers(parsed.get("headers"))
    clean = Envelope(
        {
            "body": _body(parsed),
            "content-type": _kind(parsed.get("content-type")),
            "content-encoding": _kind(parsed.get("content-encoding")),
            "headers": headers,
            "properties": {
                "delivery_tag": parsed["properties"]["delivery_tag"],
                "delivery_info": {"exchange": "", "routing_key": queue},
            },
        }
    )
    clean.item = item
    return clean


def open_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Make of AMQP's properties what kombu can do no harm with, or raise Malformed."""
    return {
        "application_headers": _headers(properties.get("application_headers")),
        "content_type": _kind(properties.get("content_type")),
        "content_encoding": _kind(properties.get("content_encoding")),
    }


def _parse(item: bytes) -> dict[str, Any]:
    """The envelope as an object whose properties are what they must be."""
    if len(item) > MAX_ENVELOPE_BYTES:
        raise Malformed("envelope", f"over {MAX_ENVELOPE_BYTES} bytes")
    try:
        parsed = json.loads(item.decode())
    except UnicodeDecodeError as error:
        raise Malformed("envelope", f"not UTF-8: {error.reason}") from error
    except (ValueError, RecursionError) as error:
        raise Malformed("envelope", f"not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise Malformed("envelope", "not an object")
    properties = parsed.get("properties")
    if not isinstance(properties, dict):
        raise Malformed("envelope", "without properties")
    if not _is_text(properties.get("delivery_tag")):
        raise Malformed("envelope", "its delivery tag is no short text")
    delivery = properties.get("delivery_info")
    if not isinstance(delivery, dict):
        raise Malformed("envelope", "without delivery info")
    for name in ("exchange", "routing_key"):
        if not isinstance(delivery.get(name), str):
            raise Malformed("envelope", f"its {name} is no text")
    if properties.get("body_encoding") != "base64":
        raise Malformed("envelope", "its body encoding is not base64")
    return parsed


def _body(parsed: dict[str, Any]) -> bytes:
    body = parsed.get("body")
    if not isinstance(body, str):
        raise Malformed("envelope", "its body is no text")
    try:
        return base64.b64decode(body, validate=True)  # kombu's own skips what it cannot read
    except ValueError as error:
        raise Malformed("envelope", f"its body is not base64: {error}") from error


def _headers(headers: Any) -> dict[str, str]:
    if not isinstance(headers, dict):
        raise Malformed("headers", "the headers are no object")
    if headers.get("compression"):  # kombu would unpack it at once, however large it becomes
        raise Malformed("compression", "compressed bodies are refused")
    for name in ("task", "id"):
        if not _is_text(headers.get(name)):
            raise Malformed("headers", f"the {name} is no short text")
    return {name: headers[name] for name in ("task", "id")}


def _kind(value: Any) -> str:
    """A content type or encoding; a missing one would be trusted by kombu."""
    if not _is_text(value):
        raise Malformed("content_type", "the content type or encoding is no short text")
    return str(value)


def _is_text(value: Any) -> bool:
    # Lone surrogates, which neither the broker nor the signature can encode, are not printable.
    return isinstance(value, str) and 0 < len(value) <= _MAX_TEXT_CHARS and value.isprintable()
