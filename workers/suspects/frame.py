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
_LARGEST_HEADER = 2**22
_LARGEST_PAYLOAD = 2**30


@dataclass(frozen=True, slots=True)
class Frame:
    """One question or one answer. Nothing in it is ever run: it is no pickle."""

    header: dict[str, Any]
    payload: bytes = b""


def packed(frame: Frame) -> bytes:
    """The frame as bytes."""
    header = _dumps(frame.header).encode()
    return _LENGTHS.pack(len(header), len(frame.payload)) + header + frame.payload


def receive(read: Callable[[int], bytes]) -> Frame:
    """The next frame; ``read`` gives exactly as many bytes as asked. Raises ValueError."""
    header_bytes, payload_bytes = _LENGTHS.unpack(read(_LENGTHS.size))
    if header_bytes > _LARGEST_HEADER or payload_bytes > _LARGEST_PAYLOAD:
        raise ValueError("a frame of impossible length")
    header = _loads(read(header_bytes))
    if not isinstance(header, dict):
        raise ValueError("a header that is no object")
    return Frame(header, read(payload_bytes))
