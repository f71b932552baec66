"""What is wrong in the body: its form, and its signature."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from tests.support.malformed.spoiling import SURROGATE, Make, named, spoiled
from tests.support.malformed.target import Target, envelope, signed, valid


def _content(body: Any) -> Make:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda target: json.dumps(envelope(target, data)).encode()


def _signed_instead(**instead: str) -> Make:
    def make(target: Target) -> bytes:
        return json.dumps(signed(target, target.message.model_dump_json(), **instead)).encode()

    return make


def _signature(signature: Callable[[str], str]) -> Make:
    def make(target: Target) -> bytes:
        whole = valid(target)
        (body, right), *_ = json.loads(base64.b64decode(whole["body"]))
        payload = json.dumps([[body, signature(right)], {}, {}]).encode()
        return json.dumps(whole | {"body": base64.b64encode(payload).decode()}).encode()

    return make


def _tampered(target: Target) -> bytes:
    whole = valid(target)
    body = base64.b64decode(whole["body"]).replace(b"photos", b"fotos5")
    return json.dumps(whole | {"body": base64.b64encode(body).decode()}).encode()


BODY = named(
    "body",
    "body",
    {
        "empty": _content(b""),
        "not JSON": _content(b"nonsense"),
        "not UTF-8": _content(b'[["\xff", "x"], {}, {}]'),
        "UTF-16": lambda t: _content(base64.b64decode(valid(t)["body"]).decode().encode("utf-16"))(
            t
        ),
        "a byte order mark": lambda t: _content(
            b"\xef\xbb\xbf" + base64.b64decode(valid(t)["body"])
        )(t),
        "null": _content(None),
        "an object": _content({"a": 1}),
        "a text": _content("text"),
        "not a number": _content(float("nan")),
        "an endless number": _content(b"9" * 5000),
        "no elements": _content([]),
        "two elements": _content([["a", "b"], {}]),
        "four elements": _content([["a", "b"], {}, {}, {}]),
        "no arguments": _content([[], {}, {}]),
        "one argument": _content([["a"], {}, {}]),
        "three arguments": _content([["a", "b", "c"], {}, {}]),
        "arguments of another type": _content([[1, 2], {}, {}]),
        "arguments as a text": _content(["ab", {}, {}]),
        "keyword arguments": _content([["a", "b"], {"c": 1}, {}]),
        "keyword arguments as a list": _content([["a", "b"], [], {}]),
        "callbacks": _content([["a", "b"], {}, {"callbacks": [{"task": "x"}]}]),
        "a chord of nothing": _content([["a", "b"], {}, {"chord": None}]),
        "no embedding": _content([["a", "b"], {}, None]),
        "a type of kombu's": _content([["a", {"__type__": "uuid", "__value__": "x"}], {}, {}]),
        "nested too deep": _content(b"[" * 100_000),
        "nested deep": _content(b"[" * 900 + b"]" * 900),
        "a million elements": _content([0] * 10**6),
        "too large": _content(b" " * (8 * 2**20 + 1)),
        "a lone surrogate": _content([[SURROGATE, "x"], {}, {}]),
        "a lone surrogate as signature": _content([["{}", SURROGATE], {}, {}]),
    },
)

SIGNATURE = named(
    "signature",
    "signature",
    {
        "none": _signature(lambda _: ""),
        "invented": _signature(lambda _: "0" * 64),
        "cut short": _signature(lambda right: right[:-1]),
        "in capitals": _signature(lambda right: right.upper() + " "),
        "not ASCII": _signature(lambda _: "\u00e9" * 64),
        "another key": _signed_instead(key="x" * 32),
        "for another task": lambda t: _signed_instead(task=t.other_task)(t),
        "for another queue": _signed_instead(queue="v6.other"),
        "for another id": _signed_instead(message_id="x"),
        "for another body": _signed_instead(body="{}"),
        "changed after it": _tampered,
        "its id changed after it": spoiled("headers", "id", value="another"),
    },
)
