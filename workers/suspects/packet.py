"""What goes between a worker and its child: a JSON object and bytes, with the lengths of both."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_LENGTHS = struct.Struct("!II")
# Bound here, since a user's class may replace what the module has.
_dumps, _loads = json.dumps, json.loads
# A child is not trusted: what it claims to send is bounded. The largest payload is an object.
_MAX_HEADER_BYTES = 2**22
_MAX_PAYLOAD_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Packet:
    """One question or one answer. Nothing in it is ever run: it is no pickle."""

    header: dict[str, Any]
    payload: bytes = b""


def packed(packet: Packet) -> bytes:
    """The packet as bytes."""
    header = _dumps(packet.header).encode()
    return _LENGTHS.pack(len(header), len(packet.payload)) + header + packet.payload


def receive(read: Callable[[int], bytes]) -> Packet:
    """The next packet; ``read`` gives exactly as many bytes as asked. Raises ValueError."""
    header_bytes, payload_bytes = _LENGTHS.unpack(read(_LENGTHS.size))
    if header_bytes > _MAX_HEADER_BYTES or payload_bytes > _MAX_PAYLOAD_BYTES:
        raise ValueError("a packet of impossible length")
    header = _loads(read(header_bytes))
    if not isinstance(header, dict):
        raise ValueError("a header that is no object")
    return Packet(header, read(payload_bytes))
