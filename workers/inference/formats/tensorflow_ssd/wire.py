"""The wire format of protocol buffers, as far as a frozen graph needs it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

# A number as it is; what has a length, and fixed 4 and 8 bytes, as those bytes.
Value = int | memoryview

_MAX_VARINT_BYTES = 10  # of 64 bits
_VARINT, _FIXED_64, _SIZED, _FIXED_32 = 0, 1, 2, 5


class Malformed(ValueError):
    """Bytes that are not what they should be; the text says what is wrong, in a few words."""


def fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """The fields of a message: their numbers and values, in order. Raises Malformed."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire_type == _SIZED:
            length, at = _varint(data, at)
        elif wire_type in (_FIXED_32, _FIXED_64):
            length = 4 if wire_type == _FIXED_32 else 8
        else:
            raise Malformed("a field is of no known type")
        if length > len(data) - at:
            raise Malformed("it ends in the middle of a field")
        yield number, data[at : at + length]
        at += length


def message(value: Value) -> memoryview:
    """The bytes of a field that has a length. Raises Malformed."""
    if isinstance(value, int):
        raise Malformed("a number is where a message should be")
    return value


def text(value: Value) -> str:
    """A field of text. Raises Malformed."""
    try:
        return bytes(message(value)).decode()
    except UnicodeDecodeError as error:
        raise Malformed("a name is no text") from error


def integer(value: Value) -> int:
    """A field of one signed number. Raises Malformed."""
    if not isinstance(value, int):
        raise Malformed("bytes are where a number should be")
    return value - (1 << 64) if value >= 1 << 63 else value


def integers(value: Value) -> list[int]:
    """One signed number, or several that are packed. Raises Malformed."""
    if isinstance(value, int):
        return [integer(value)]
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(integer(number))
    return found


def floats(value: Value) -> npt.NDArray[np.float32]:
    """One float, or several that are packed. Raises Malformed."""
    data = message(value)
    if len(data) % 4:
        raise Malformed("a list of floats ends in the middle of one")
    return np.frombuffer(data, "<f4")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of variable length, and where the next field starts."""
    number = 0
    for place, byte in enumerate(data[at : at + _MAX_VARINT_BYTES]):
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return number & (1 << 64) - 1, at + place + 1
    raise Malformed("it ends in the middle of a number, or a number is too long")
