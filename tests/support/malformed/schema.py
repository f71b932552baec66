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


MODEL = ("pipeline", "models", "tiny")
CLASSES = ("pipeline", "analyses", "classes")
VIEW = (*CLASSES, "view")


def class_models(**fields: Any) -> dict[str, Case]:
    """A user's class as the model, sound but for one of ``fields``, each a list of values."""
    sound = {
        **{"name": "own", "sha256": "a" * 64, "python_class": "own:Own"},
        "code_sha256": "b" * 64,
    }
    return {
        f"schema: a class: {name} {show(value)}": Case(
            "schema", field(*MODEL, value={**sound, name: value})
        )
        for name, values in fields.items()
        for value in values
    }


def views(*wrong: dict[str, Any]) -> dict[str, Case]:
    """The view of the analysis, sound but for the fields that are wrong."""
    sound = {
        "crop": {"resize_shorter_pixels": 64, "crop_pixels": 64},
        "letterbox": {"width": 64, "height": 64},
        "stretch": {"width": 64, "height": 64},
    }
    return {
        f"schema: a view: {show(each)}": Case(
            "schema", field(*VIEW, value={**sound.get(each["kind"], {}), **each})
        )
        for each in wrong
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
    **fields(("schema_version",), 0, 3, 4, 6, "5", None, 5.5),
    **fields(("incarnation",), MISSING, None, "", "1" * 15, "1" * 17, "../" * 5 + "x", 5),
    **fields(("job_id",), MISSING, "", "../job", "/etc/passwd", "a/b", "a" * 101, "a\n", 5),
    **fields(("job_uid",), MISSING, None, "", "z" * 16, ["2" * 16]),
    **fields(
        ("chunk",), MISSING, -1, 2**31, 10**30, 0.5, "0", True, None, float("nan"), float("inf")
    ),
    **fields(("attempt",), MISSING, 0, -1, 2**31, "1", None),
    **fields(
        ("bucket",), MISSING, "", "a", "a" * 64, "../x", "/etc", "a/b", "..a", "a b", "A\n", None, 5
    ),
    **fields(("pipeline",), MISSING, None, {}, "classify"),
    **fields(("pipeline", "name"), MISSING, "", "../x", "/x", "A", "x" * 65),
    **fields(("pipeline", "extra"), 1),
    **fields(("pipeline", "form"), MISSING, "", "middle", None, 1),
    **fields(("pipeline", "preprocess"), None, [], {"crop_pixels": 64}),
    **fields(("pipeline", "preprocess", "max_object_bytes"), 0, 2**30 + 1),
    **fields(("pipeline", "preprocess", "max_pixels"), 0, 10**9 + 1),
    **fields(("pipeline", "preprocess", "decode"), "", "loose", None, 1),
    **fields(("pipeline", "preprocess", "sixteen_bit"), "", "low_byte", None, 16),
    **fields(("pipeline", "analyses"), MISSING, None, [], {}, "x", {"classes": None}),
    **fields(("pipeline", "analyses", "key"), {"kind": "palette"}),
    **fields(("pipeline", "analyses", "Upper"), {"kind": "palette"}),
    **fields(("pipeline", "analyses", "x" * 10**6), {"kind": "palette"}),
    **fields(CLASSES, None, [], "x", {}, {"kind": "palette"}),
    **fields((*CLASSES, "kind"), MISSING, None, "", "no-such", "x" * 10**6, 5, ["classes"], {}),
    **fields((*CLASSES, "extra"), 1),
    **fields((*CLASSES, "model"), MISSING, None, "", "other", "../x", "tiny@" + "a" * 63),
    **fields((*CLASSES, "engine"), "no-such", None),
    **fields((*CLASSES, "precision"), "float8", None),
    **fields((*CLASSES, "top_k"), 0, 101, 10**30, "5"),
    **fields((*CLASSES, "softmax"), "yes", None, 1),
    **fields(VIEW, MISSING, None, {}, [], "crop", {"kind": "whole"}, {"kind": None}),
    **fields((*VIEW, "crop_pixels"), MISSING, 0, -1, 4097, 10**9, 1.5, "224"),
    **fields((*VIEW, "resize_shorter_pixels"), MISSING, 0, 1, 4097),
    **fields((*VIEW, "extra"), 1),
    **views(
        *({"kind": "stretch", "width": value} for value in (0, 4097, 10**9, "64", 1.5)),
        *({"kind": "letterbox", "height": value} for value in (0, 4097, None)),
        *({"kind": "letterbox", "pad": value} for value in (-1, 256, 0.5)),
        *({"kind": "letterbox", "align": value} for value in ("left", None)),
        {"kind": "stretch", "pad": 0},
    ),
    **fields(("pipeline", "models"), MISSING, None, [], {}, "x", {"tiny": None}),
    **fields(("pipeline", "models", "other"), {"name": "other", "sha256": "a" * 64}),
    **fields((*MODEL, "name"), "../x", "/x", ""),
    **fields((*MODEL, "sha256"), "../x", "a" * 63, "A" * 64),
    **fields((*MODEL, "python_class"), "os:system", "/x:Y", "..:Y"),
    **fields((*MODEL, "code_sha256"), "a" * 64, "../x", 5),
    **fields((*MODEL, "files"), [{"name": "a", "sha256": "a" * 64, "bytes": 1}], "x"),
    **fields((*MODEL, "environment"), ["HOME"], ["HEADRACE_HOME"], ["a b"], 5),
    **fields((*MODEL, "arguments"), "", "[]", "{", "null", '{"a": 1}', {}, "[" * 10_000),
    **fields((*MODEL, "outputs"), None, ["Scores"], [""], ["a"] * 17, "scores", [5]),
    **class_models(
        code_sha256=[None, "../x"],
        environment=[["HEADRACE_HOME"], ["A=B"], ["A"] * 65],
        arguments=["", "[1]", "{", "1e999", {}, '"' + "x" * 65_536 + '"'],
        files=[
            *(packed_file(name=name) for name in ("../x", "/x", "", "a//b", "a\0", "x" * 256)),
            *(packed_file(bytes=size) for size in (-1, 2**31 + 1, "1")),
            *(packed_file(sha256="../x"), packed_file(more=1), packed_file() * 2),
        ],
    ),
    **fields((*MODEL, "architecture"), 3, "x" * 101),
    **fields((*MODEL, "layout"), 3, "x" * 33, "Grid"),
    **fields((*MODEL, "has_graph"), None, 3),
    **fields((*MODEL, "std"), [0, 0, 0], [1, 1], "x", [1, 1, float("nan")]),
}
