"""What is wrong around the body: the envelope, its headers, and what they say of the content."""

from __future__ import annotations

import json
import zlib
from functools import cache
from typing import Any

from tests.support.malformed.spoiling import MISSING, SURROGATE, Case, Make, named, set_at, values
from tests.support.malformed.target import Target, envelope, valid


def _protocol_1(target: Target) -> bytes:
    old = {"task": target.task, "id": "x", "args": ["a", "b"], "kwargs": {}, "retries": 0}
    return json.dumps(envelope(target, json.dumps(old).encode()) | {"headers": {}}).encode()


@cache
def _bomb() -> bytes:
    """A quarter of a gigabyte of spaces."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(b" " * 2**20) for _ in range(256)) + packer.flush()


def _compressed(body: bytes, kind: Any) -> Make:
    def make(target: Target) -> bytes:
        return json.dumps(set_at(envelope(target, body), ("headers", "compression"), kind)).encode()

    return make


def _raw(data: bytes) -> Make:
    return lambda _: data


DELIVERY = ("properties", "delivery_info")

ENVELOPE = {
    **named(
        "envelope",
        "envelope",
        {
            "empty": _raw(b""),
            "not JSON": _raw(b"nonsense"),
            "cut short": lambda t: json.dumps(valid(t)).encode()[:-1],
            "not UTF-8": lambda t: json.dumps(valid(t)).encode()[:-1] + b', "x": "\xff"}',
            "UTF-16": lambda t: json.dumps(valid(t)).encode("utf-16"),
            "a byte order mark": lambda t: b"\xef\xbb\xbf" + json.dumps(valid(t)).encode(),
            "an array": _raw(b"[1, 2]"),
            "a text": _raw(b'"text"'),
            "a number": _raw(b"1e999"),
            "not a number": _raw(b"NaN"),
            "null": _raw(b"null"),
            "an empty object": _raw(b"{}"),
            "an endless number": lambda t: (
                json.dumps(valid(t)).encode()[:-1] + b', "x": ' + b"9" * 5000 + b"}"
            ),
            "nested too deep": _raw(b"[" * 100_000),
            "nested too deep beside the rest": lambda t: (
                json.dumps(valid(t)).encode()[:-1] + b', "x": ' + b"[" * 5000 + b"]" * 5000 + b"}"
            ),
            "too large": _raw(b" " * (13 * 2**20)),
        },
    ),
    **values("envelope", ("properties",), MISSING, None, [], "x", 3),
    **values("envelope", DELIVERY, MISSING, None, [], "x", 3),
    **values("envelope", (*DELIVERY, "exchange"), MISSING, None, 3, {}),
    **values("envelope", (*DELIVERY, "routing_key"), MISSING, None, 3, []),
    **values(
        "envelope",
        ("properties", "delivery_tag"),
        *(MISSING, None, 3, [], {}, "", SURROGATE, "a\0b", "x" * 10_000),
    ),
    **values(
        "envelope", ("properties", "body_encoding"), MISSING, None, "", "base32", 7, ["base64"]
    ),
    **values("envelope", ("body",), MISSING, None, 5, {}, [], "*", "abc", "YQ==\n", "\u00e9"),
}

HEADERS = {
    **values("headers", ("headers",), MISSING, None, [], "x", 3, {}),
    **values(
        "headers",
        ("headers", "task"),
        *(MISSING, None, ["a"], {"a": 1}, 5, True, "", "no.such", "celery.backend_cleanup"),
        *(SURROGATE, "x" * 10_000),
    ),
    **values(
        "headers",
        ("headers", "id"),
        *(MISSING, None, ["a"], {"a": 1}, 5, 1.5, "", SURROGATE, "x" * 10_000),
    ),
    "headers: another task of ours": Case(
        "headers",
        lambda t: json.dumps(set_at(valid(t), ("headers", "task"), t.other_task)).encode(),
    ),
    "headers: protocol 1": Case("headers", _protocol_1),
}

CONTENT = {
    **values(
        "content_type",
        ("content-type",),
        *(MISSING, None, 5, [], {}, "", "application/data", "application/x-python-serialize"),
        *("application/x-yaml", "application/x-msgpack", "text/plain", "no/such", SURROGATE),
    ),
    **values(
        "content_type", ("content-encoding",), MISSING, None, 5, [], "binary", "utf-16", "latin-1"
    ),
    **named(
        "compression",
        "compression",
        {
            "unknown": _compressed(b"x", "no/such"),
            "a number": _compressed(b"x", 5),
            "unhashable": _compressed(b"x", ["x"]),
            "not what it says": _compressed(b"x", "application/x-gzip"),
            "another than it says": _compressed(zlib.compress(b"x"), "application/x-bz2"),
            "a bomb": lambda t: _compressed(_bomb(), "application/x-gzip")(t),
        },
    ),
}
