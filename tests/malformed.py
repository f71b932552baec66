"""Messages that could never have been valid: each a valid one with one thing spoiled.

``CASES`` holds for every queue, ``CASES_OF`` for what one role consumes, ``IGNORED`` are headers
beside a valid signature that must change nothing.
"""

from __future__ import annotations

import base64
import json
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from shared.messages import Message
from shared.queues import INFERENCE_TASK, PREPROCESS_TASK, RESULTS_TASK
from shared.signing import sign

MISSING = object()
SURROGATE = "\ud800"
_TASKS = {"preprocess": PREPROCESS_TASK, "inference": INFERENCE_TASK, "collector": RESULTS_TASK}


@dataclass(frozen=True)
class Target:
    """A queue, what it carries, and a valid message of it that is spoiled."""

    role: str
    queue: str
    key: str
    message: Message

    @property
    def task(self) -> str:
        return _TASKS[self.role]

    @property
    def other_task(self) -> str:
        return next(task for task in _TASKS.values() if task != self.task)


Make = Callable[[Target], bytes]


@dataclass(frozen=True)
class Case:
    """``layer``: where the message must be found wrong."""

    layer: str
    make: Make


def envelope(target: Target, body: bytes, message_id: str | None = None) -> dict[str, Any]:
    """What kombu would have put into the queue."""
    message_id = message_id or str(uuid.uuid4())
    return {
        "body": base64.b64encode(body).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": target.task, "id": message_id},
        "properties": {
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": target.queue},
            "body_encoding": "base64",
            "correlation_id": message_id,
        },
    }


def signed(target: Target, body: str, /, **instead: str) -> dict[str, Any]:
    """An envelope that carries ``body`` with our signature, or one made with other fields."""
    message_id = str(uuid.uuid4())
    fields = {"task": target.task, "queue": target.queue, "message_id": message_id}
    signature = sign(**{"key": target.key, "body": body, **fields, **instead})
    payload = json.dumps([[body, signature], {}, {}]).encode()
    return envelope(target, payload, message_id)


def valid(target: Target) -> dict[str, Any]:
    """The message as it should be."""
    return signed(target, target.message.model_dump_json())


def set_at(whole: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """``whole`` with ``value`` at ``path``, or with nothing there."""
    *parents, last = path
    inner = whole
    for name in parents:
        inner = inner[name]
    if value is MISSING:
        del inner[last]
    else:
        inner[last] = value
    return whole


def _spoiled(*path: str, value: Any) -> Make:
    return lambda target: json.dumps(set_at(valid(target), path, value)).encode()


def _content(body: Any) -> Make:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda target: json.dumps(envelope(target, data)).encode()


def _signed_text(text: str) -> Make:
    return lambda target: json.dumps(signed(target, text)).encode()


def _field(*path: str | int, value: Any) -> Make:
    def make(target: Target) -> bytes:
        fields = json.loads(target.message.model_dump_json())
        return json.dumps(signed(target, json.dumps(set_at(fields, path, value)))).encode()

    return make


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
    body = base64.b64decode(whole["body"]).replace(b"a.jpg", b"b.jpg")
    return json.dumps(whole | {"body": base64.b64encode(body).decode()}).encode()


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


def _named(prefix: str, layer: str, makes: dict[str, Make]) -> dict[str, Case]:
    return {f"{prefix}: {name}": Case(layer, make) for name, make in makes.items()}


def _values(layer: str, path: tuple[str, ...], *values: Any) -> dict[str, Case]:
    """The field at ``path`` with each of ``values``."""
    return {
        f"{layer}: {'.'.join(path)} {_show(value)}": Case(layer, _spoiled(*path, value=value))
        for value in values
    }


def _fields(path: tuple[str | int, ...], *values: Any) -> dict[str, Case]:
    """The message's own field at ``path`` with each of ``values``, rightly signed."""
    return {
        f"schema: {'.'.join(map(str, path))} {_show(value)}": Case(
            "schema", _field(*path, value=value)
        )
        for value in values
    }


def _show(value: Any) -> str:
    return "missing" if value is MISSING else ascii(value)[:30]


def _raw(data: bytes) -> Make:
    return lambda _: data


DELIVERY = ("properties", "delivery_info")

ENVELOPE = {
    **_named(
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
    **_values("envelope", ("properties",), MISSING, None, [], "x", 3),
    **_values("envelope", DELIVERY, MISSING, None, [], "x", 3),
    **_values("envelope", (*DELIVERY, "exchange"), MISSING, None, 3, {}),
    **_values("envelope", (*DELIVERY, "routing_key"), MISSING, None, 3, []),
    **_values(
        "envelope",
        ("properties", "delivery_tag"),
        *(MISSING, None, 3, [], {}, "", SURROGATE, "a\0b", "x" * 10_000),
    ),
    **_values(
        "envelope", ("properties", "body_encoding"), MISSING, None, "", "base32", 7, ["base64"]
    ),
    **_values("envelope", ("body",), MISSING, None, 5, {}, [], "*", "abc", "YQ==\n", "\u00e9"),
}

HEADERS = {
    **_values("headers", ("headers",), MISSING, None, [], "x", 3, {}),
    **_values(
        "headers",
        ("headers", "task"),
        *(MISSING, None, ["a"], {"a": 1}, 5, True, "", "no.such", "celery.backend_cleanup"),
        *(SURROGATE, "x" * 10_000),
    ),
    **_values(
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
    **_values(
        "content_type",
        ("content-type",),
        *(MISSING, None, 5, [], {}, "", "application/data", "application/x-python-serialize"),
        *("application/x-yaml", "application/x-msgpack", "text/plain", "no/such", SURROGATE),
    ),
    **_values(
        "content_type", ("content-encoding",), MISSING, None, 5, [], "binary", "utf-16", "latin-1"
    ),
    **_named(
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

BODY = _named(
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

SIGNATURE = _named(
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
        "for another queue": _signed_instead(queue="v1.other"),
        "for another id": _signed_instead(message_id="x"),
        "for another body": _signed_instead(body="{}"),
        "changed after it": _tampered,
        "its id changed after it": _spoiled("headers", "id", value="another"),
    },
)

SCHEMA = {
    **_named(
        "schema",
        "schema",
        {
            "not JSON": _signed_text("nonsense"),
            "empty": _signed_text(""),
            "an empty object": _signed_text("{}"),
            "an array": _signed_text("[]"),
            "null": _signed_text("null"),
            "not a number": _signed_text("NaN"),
            "nested too deep": _signed_text("[" * 100_000),
            "a million elements": _signed_text("[" + "0," * 10**6 + "0]"),
        },
    ),
    **_fields(("extra",), 1),
    **_fields(("schema_version",), 0, 2, "1", None, 1.5),
    **_fields(("incarnation",), MISSING, None, "", "1" * 15, "1" * 17, "../" * 5 + "x", 5),
    **_fields(("job_id",), MISSING, "", "../job", "/etc/passwd", "a/b", "a" * 101, "a\n", 5),
    **_fields(("job_uid",), MISSING, None, "", "z" * 16, ["2" * 16]),
    **_fields(
        ("chunk",), MISSING, -1, 2**31, 10**30, 0.5, "0", True, None, float("nan"), float("inf")
    ),
    **_fields(("attempt",), MISSING, 0, -1, 2**31, "1", None),
    **_fields(("pipeline",), MISSING, None, {}, "classify"),
    **_fields(("pipeline", "name"), MISSING, "", "../x", "/x", "A", "x" * 65),
    **_fields(("pipeline", "extra"), 1),
    **_fields(("pipeline", "engine"), "no-such", None),
    **_fields(("pipeline", "preprocess", "crop_pixels"), 0, -1, 4097, 10**9, 1.5, "224"),
    **_fields(("pipeline", "preprocess", "resize_shorter_pixels"), 0, 1, 4097),
    **_fields(("pipeline", "preprocess", "max_object_bytes"), 0, 2**30 + 1),
    **_fields(("pipeline", "preprocess", "max_pixels"), 0, 10**9 + 1),
    **_fields(("pipeline", "model", "name"), "../x", "/x", ""),
    **_fields(("pipeline", "model", "sha256"), "../x", "a" * 63, "A" * 64),
    **_fields(("pipeline", "model", "python_class"), "os:system", "/x:Y", "..:Y"),
    **_fields(("pipeline", "model", "architecture"), None, "x" * 101),
    **_fields(("pipeline", "model", "std"), [0, 0, 0], [1, 1], "x", [1, 1, float("nan")]),
    **_fields(("pipeline", "postprocess", "top_k"), 0, 101),
    **_fields(("items",), MISSING, None, [], {}, "x", [None], [{}]),
}


def _many(target: Target) -> bytes:
    fields = json.loads(target.message.model_dump_json())
    fields["items"] = fields["items"] * 513
    return json.dumps(signed(target, json.dumps(fields))).encode()


def _item_fields(*prefix: str | int) -> dict[str, Case]:
    return {
        **_fields((*prefix, "key"), MISSING, "", "x" * 1025, None, 5, ["a"]),
        **_fields((*prefix, "etag"), MISSING, "x" * 201, None),
        **_fields((*prefix, "size"), MISSING, -1, 2**63, 10**30, "1", float("nan")),
        **_fields((*prefix, "extra"), 1),
        "schema: too many items": Case("schema", _many),
    }


BUCKET = _fields(
    ("bucket",), MISSING, "", "a", "a" * 64, "../x", "/etc", "a/b", "..a", "a b", "A\n", None, 5
)
TIMINGS = {
    **_fields(("timings",), MISSING, None, [], "x"),
    **_fields(("timings", "fetch_seconds"), -1, float("nan"), float("inf"), 10**8, "x"),
    **_fields(("timings", "device_started_at"), -1, float("nan"), 10**12),
    **_fields(("timings", "extra"), 1),
}

CASES: dict[str, Case] = ENVELOPE | HEADERS | CONTENT | BODY | SIGNATURE | SCHEMA
CASES_OF: dict[str, dict[str, Case]] = {
    "preprocess": {**_item_fields("items", 0), **BUCKET, **_fields(("timings",), {})},
    "inference": {
        **_item_fields("items", 0, "item"),
        **BUCKET,
        **TIMINGS,
        **_fields(("staged",), MISSING, None, {}, "x", []),
        **_fields(("staged", "index"), MISSING, -1, 3, 10_000, 10_001, 2**63, 0.5, "0"),
        **_fields(("staged", "host_id"), MISSING, "", "elsewhere", "../testhost", "x" * 201),
        **_fields(("staged", "images"), MISSING, 0, 2, 513, -1),
        **_fields(("staged",), {"images": 1, "host_id": "testhost"}, {"images": 0}, {"index": 2}),
        # Nothing is staged over the network where the settings name no server for it.
        "schema: a parcel where there are none": Case(
            "schema", _field("staged", value={"images": 1})
        ),
        # A slot of 4096 bytes; 64 by 64 pixels of three bytes take three times as many.
        "schema: pixels that do not fit the slot": Case(
            "schema", _field("staged", "index", value=0)
        ),
        **_fields(("pipeline", "preprocess"), {}),
        **_fields(("items", 0, "width"), 0, -1, 10**7, "9"),
        **_fields(("items", 0, "failure"), {}, "x", {"error_code": "no-such", "error_message": ""}),
    },
    "collector": {
        **_item_fields("items", 0, "item"),
        **TIMINGS,
        **_fields(("bucket",), "photos"),
        **_fields(("engine",), MISSING, "no-such", 5),
        **_fields(("precision",), MISSING, "float8"),
        **_fields(("device",), MISSING, "x" * 201),
        **_fields(("items", 0, "width"), 0, -1, 10**7, "9"),
        **_fields(
            ("items", 0, "predictions"),
            *(None, "x", [{}], [{"label": "a", "score": 1.0}] * 101),
            *([{"label": "x" * 201, "score": 1.0}], [{"label": "a", "score": float("nan")}]),
        ),
    },
}


def cases(role: str) -> dict[str, Case]:
    """Everything that the queue of ``role`` must stand."""
    return CASES | CASES_OF[role]


IGNORED: dict[str, Any] = {
    "eta": ["2999-01-01T00:00:00", "nonsense", 5, []],
    "expires": ["1999-01-01", "nonsense", -1, {}],
    "timelimit": [[1, 1], "x", [None], 5, [1e-9, 1e-9]],
    "retries": [10**9, "x", -1, None],
    "stamps": ["x", {"a": 1}, 5],
    "stamped_headers": ["x", [1]],
    "priority": [9, "x", None],
    "shadow": ["celery.chord", 5],
    "lang": ["js", None],
    "group": ["x", 5],
    "callbacks": [[1]],
    "replaced_task_nesting": ["x"],
    "redelivered": ["x"],
    "x-unheard-of": [SURROGATE, [[[[]]]]],
}
