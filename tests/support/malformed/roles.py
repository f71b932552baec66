"""What is wrong in the message of one role, though it is rightly signed."""

from __future__ import annotations

import json

from tests.support.malformed.answers import ANSWERS, CLASSES
from tests.support.malformed.boxes import BOXES
from tests.support.malformed.schema import field, fields
from tests.support.malformed.spoiling import MISSING, Case
from tests.support.malformed.target import Target, signed


def _many(target: Target) -> bytes:
    message = json.loads(target.message.model_dump_json())
    message["items"] = message["items"] * 513
    return json.dumps(signed(target, json.dumps(message))).encode()


_ITEMS = {
    **fields(("items",), MISSING, None, [], {}, "x", [None], [{}]),
    **fields(("items", 0, "key"), MISSING, "", "x" * 1025, None, 5, ["a"]),
    **fields(("items", 0, "etag"), MISSING, "x" * 201, None),
    **fields(("items", 0, "size"), MISSING, -1, 2**63, 10**30, "1", float("nan")),
    **fields(("items", 0, "extra"), 1),
    "schema: too many items": Case("schema", _many),
}
# Those of before are in the manifest.
_NO_ITEMS = fields(("items",), [], [{"key": "a.jpg", "etag": "e", "size": 1}])
_TIMINGS = {
    **fields(("timings",), MISSING, None, [], "x"),
    **fields(("timings", "fetch_seconds"), -1, float("nan"), float("inf"), 10**8, "x"),
    **fields(("timings", "device_started_at"), -1, float("nan"), 10**12),
    **fields(("timings", "extra"), 1),
}


def _crop(pixels: int) -> dict[str, object]:
    return {"kind": "crop", "resize_shorter_pixels": pixels, "crop_pixels": pixels}


def _used(**wrong: tuple[object, ...]) -> dict[str, Case]:
    """What computed the classes, with one of its fields wrong; the wrong one shows in the name."""
    found: dict[str, Case] = {}
    for name, values in wrong.items():
        for value in values:
            used = {name: value, **{other: v for other, v in _USED.items() if other != name}}
            found |= fields(("computed", "classes"), used)
    return found


_KEYS = (None, "x", ["a.jpg"], [""], ["x" * 1025], [5], ["a"] * 513)
_USED = {"engine": "torch", "precision": "float32", "device": "cpu"}

CASES_OF: dict[str, dict[str, Case]] = {
    "preprocess": {
        **_ITEMS,
        **fields(("timings",), {}),
        **fields(("answers",), "x"),
        **fields(("keys",), ["a.jpg"]),
        **fields(("staged",), None),
    },
    "inference": {
        **_NO_ITEMS,
        **_TIMINGS,
        **ANSWERS,
        **fields(("staged",), MISSING, None, {}, "x", []),
        **fields(("staged", "index"), MISSING, -1, 3, 10_000, 10_001, 2**63, 0.5, "0"),
        **fields(("staged", "host_id"), MISSING, "", "elsewhere", "../testhost", "x" * 201),
        **fields(("staged", "images"), MISSING, 0, 2, 513, -1),
        **fields(("staged",), {"images": 1, "host_id": "testhost"}, {"images": 0}, {"index": 2}),
        # Nothing is staged over the network where the settings name no server for it.
        "schema: a parcel where there are none": Case(
            "schema", field("staged", value={"images": 1})
        ),
        # A slot of 4096 bytes; 64 by 64 pixels of three bytes take three times as many.
        "schema: pixels that do not fit the slot": Case(
            "schema", field("staged", "index", value=0)
        ),
        # Of the same slot: the view takes more than the image that lies there.
        **fields(("pipeline", "analyses", "classes", "view"), _crop(4096)),
        **fields(("keys",), *_KEYS),
        **fields(("computed",), {}, {"classes": None}),
    },
    "collector": {
        **_NO_ITEMS,
        **_TIMINGS,
        **ANSWERS,
        **CLASSES,
        **BOXES,
        **fields(("keys",), ["a.jpg"]),
        **fields(("staged",), None),
        **fields(("computed",), MISSING, None, [], {}, {"other": None}),
        **fields(("computed",), {"classes": None, "other": None}),
        **fields(("computed", "classes"), "x", [], {}),
        **_used(engine=("no-such", 5), precision=("float8", 5), device=(5, "x" * 201)),
        **fields(("scored_at",), MISSING, None, "1", -1, 10**12, float("nan"), float("inf")),
    },
}
