"""What is wrong in any message of ours, though it is rightly signed."""

from __future__ import annotations

import json
from typing import Any

from tests.support.malformed.spoiling import MISSING, Case, Make, named, set_at, show
from tests.support.malformed.target import Target, signed


def _signed_text(text: str) -> Make:
    return lambda target: json.dumps(signed(target, text)).encode()


def field(*path: str | int, value: Any) -> Make:
    def make(target: Target) -> bytes:
        message = json.loads(target.message.model_dump_json())
        return json.dumps(signed(target, json.dumps(set_at(message, path, value)))).encode()

    return make


def fields(path: tuple[str | int, ...], *values: Any) -> dict[str, Case]:
    """The message's own field at ``path`` with each of ``values``, rightly signed."""
    return {
        f"schema: {'.'.join(map(str, path))} {show(value)}": Case(
            "schema", field(*path, value=value)
        )
        for value in values
    }


def class_models(**fields: Any) -> dict[str, Case]:
    """A user's class as the model, sound but for one of ``fields``, each a list of values."""
    sound = {
        **{"name": "own", "sha256": "a" * 64, "python_class": "own:Own"},
        "code_sha256": "b" * 64,
    }
    return {
        f"schema: pipeline.model of a class: {name} {show(value)}": Case(
            "schema", field("pipeline", "model", value={**sound, name: value})
        )
        for name, values in fields.items()
        for value in values
    }


def packed_file(**fields: Any) -> list[dict[str, Any]]:
    """The fields that are wrong first, so that they show in the case's name."""
    return [{**fields, "name": "w.bin", "sha256": "a" * 64, "bytes": 1, **fields}]


SCHEMA = {
    **named(
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
    **fields(("extra",), 1),
    **fields(("schema_version",), 0, 2, 4, "1", None, 1.5),
    **fields(("incarnation",), MISSING, None, "", "1" * 15, "1" * 17, "../" * 5 + "x", 5),
    **fields(("job_id",), MISSING, "", "../job", "/etc/passwd", "a/b", "a" * 101, "a\n", 5),
    **fields(("job_uid",), MISSING, None, "", "z" * 16, ["2" * 16]),
    **fields(
        ("chunk",), MISSING, -1, 2**31, 10**30, 0.5, "0", True, None, float("nan"), float("inf")
    ),
    **fields(("attempt",), MISSING, 0, -1, 2**31, "1", None),
    **fields(("pipeline",), MISSING, None, {}, "classify"),
    **fields(("pipeline", "name"), MISSING, "", "../x", "/x", "A", "x" * 65),
    **fields(("pipeline", "extra"), 1),
    **fields(("pipeline", "engine"), "no-such", None),
    **fields(("pipeline", "preprocess", "crop_pixels"), 0, -1, 4097, 10**9, 1.5, "224"),
    **fields(("pipeline", "preprocess", "resize_shorter_pixels"), 0, 1, 4097),
    **fields(("pipeline", "preprocess", "max_object_bytes"), 0, 2**30 + 1),
    **fields(("pipeline", "preprocess", "max_pixels"), 0, 10**9 + 1),
    **fields(("pipeline", "preprocess", "decode"), "", "loose", None, 1),
    **fields(("pipeline", "preprocess", "sixteen_bit"), "", "low_byte", None, 16),
    **fields(("pipeline", "model", "name"), "../x", "/x", ""),
    **fields(("pipeline", "model", "sha256"), "../x", "a" * 63, "A" * 64),
    **fields(("pipeline", "model", "python_class"), "os:system", "/x:Y", "..:Y"),
    **fields(("pipeline", "model", "code_sha256"), "a" * 64, "../x", 5),
    **fields(("pipeline", "model", "files"), [{"name": "a", "sha256": "a" * 64, "bytes": 1}], "x"),
    **fields(("pipeline", "model", "environment"), ["HOME"], ["HEADRACE_HOME"], ["a b"], 5),
    **class_models(
        code_sha256=[None, "../x"],
        environment=[["HEADRACE_HOME"], ["A=B"], ["A"] * 65],
        files=[
            *(packed_file(name=name) for name in ("../x", "/x", "", "a//b", "a\0", "x" * 256)),
            *(packed_file(bytes=size) for size in (-1, 2**31 + 1, "1")),
            *(packed_file(sha256="../x"), packed_file(more=1), packed_file() * 2),
        ],
    ),
    **fields(("pipeline", "model", "architecture"), None, "x" * 101),
    **fields(("pipeline", "model", "std"), [0, 0, 0], [1, 1], "x", [1, 1, float("nan")]),
    **fields(("pipeline", "postprocess", "top_k"), 0, 101),
    **fields(("items",), MISSING, None, [], {}, "x", [None], [{}]),
}
