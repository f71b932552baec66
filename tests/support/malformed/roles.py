"""What is wrong in the message of one role, though it is rightly signed."""

from __future__ import annotations

import json

from tests.support.malformed.schema import field, fields
from tests.support.malformed.spoiling import MISSING, Case
from tests.support.malformed.target import Target, signed


def _many(target: Target) -> bytes:
    message = json.loads(target.message.model_dump_json())
    message["items"] = message["items"] * 513
    return json.dumps(signed(target, json.dumps(message))).encode()


def _item_fields(*prefix: str | int) -> dict[str, Case]:
    return {
        **fields((*prefix, "key"), MISSING, "", "x" * 1025, None, 5, ["a"]),
        **fields((*prefix, "etag"), MISSING, "x" * 201, None),
        **fields((*prefix, "size"), MISSING, -1, 2**63, 10**30, "1", float("nan")),
        **fields((*prefix, "extra"), 1),
        "schema: too many items": Case("schema", _many),
    }


_BUCKET = fields(
    ("bucket",), MISSING, "", "a", "a" * 64, "../x", "/etc", "a/b", "..a", "a b", "A\n", None, 5
)
_WARNINGS = ("", "no-such", "x" * 10**6, 5, ["damaged_data"])
_TIMINGS = {
    **fields(("timings",), MISSING, None, [], "x"),
    **fields(("timings", "fetch_seconds"), -1, float("nan"), float("inf"), 10**8, "x"),
    **fields(("timings", "device_started_at"), -1, float("nan"), 10**12),
    **fields(("timings", "extra"), 1),
}

CASES_OF: dict[str, dict[str, Case]] = {
    "preprocess": {**_item_fields("items", 0), **_BUCKET, **fields(("timings",), {})},
    "inference": {
        **_item_fields("items", 0, "item"),
        **_BUCKET,
        **_TIMINGS,
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
        **fields(("pipeline", "preprocess"), {}),
        **fields(("items", 0, "width"), 0, -1, 10**7, "9"),
        **fields(("items", 0, "warning"), *_WARNINGS),
        **fields(("items", 0, "failure"), {}, "x", {"error_code": "no-such", "error_message": ""}),
    },
    "collector": {
        **_item_fields("items", 0, "item"),
        **_TIMINGS,
        **fields(("bucket",), "photos"),
        **fields(("engine",), MISSING, "no-such", 5),
        **fields(("precision",), MISSING, "float8"),
        **fields(("device",), MISSING, "x" * 201),
        **fields(("items", 0, "width"), 0, -1, 10**7, "9"),
        **fields(("items", 0, "warning"), *_WARNINGS),
        **fields(
            ("items", 0, "predictions"),
            *(None, "x", [{}], [{"label": "a", "score": 1.0}] * 101),
            *([{"label": "x" * 10_001, "score": 1.0}], [{"label": 5, "score": 1.0}]),
            *([{"label": None, "score": 1.0}], [{"label": "a", "score": float("nan")}]),
        ),
    },
}
