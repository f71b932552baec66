"""What is wrong with a detector's message: with the boxes, and with the options of the analysis."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from shared.limits import MAX_IMAGE_SIDE_PIXELS, MAX_LABEL_CHARACTERS
from shared.messages import Batch, Message, Result
from shared.pipeline import Pipeline
from shared.stages import INFERENCE, PREPROCESS
from tests.support import samples
from tests.support.malformed.answers import (
    FAILED,
    Spoil,
    of_another_schema,
    of_values,
    spoiled_answers,
)
from tests.support.malformed.spoiling import MISSING, Case, set_at, show
from tests.support.malformed.target import Target, signed

PIPELINE = samples.detector()
_NAN, _INFINITY = float("nan"), float("inf")


def detection(target: Target, pipeline: Pipeline = PIPELINE) -> Message:
    """The target's message, of a job that asks for boxes: one image found some, another failed."""
    fields = {name: getattr(target.message, name) for name in type(target.message).model_fields}
    fields["pipeline"] = pipeline
    if isinstance(target.message, Batch):
        fields["answers"] = samples.answers(pipeline, PREPROCESS, {}, FAILED)
    elif isinstance(target.message, Result):
        found = {"objects": [samples.box(), samples.box(label="dog")]}
        fields["answers"] = samples.answers(pipeline, INFERENCE, found, FAILED)
        fields["computed"] = {"objects": None}
    return type(target.message)(**fields)


def _changed(*path: str, value: Any) -> Case:
    def make(target: Target) -> bytes:
        message = json.loads(detection(target).model_dump_json())
        return json.dumps(signed(target, json.dumps(set_at(message, path, value)))).encode()

    return Case("schema", make)


def _fields(path: tuple[str, ...], *values: Any) -> dict[str, Case]:
    return {
        f"schema: boxes: {'.'.join(path[2:])} {show(value)}": _changed(*path, value=value)
        for value in values
    }


_OBJECTS = ("pipeline", "analyses", "objects")
_MODEL = ("pipeline", "models", "finder")

# In every message of a job.
OPTIONS: dict[str, Case] = {
    **_fields((*_OBJECTS, "min_score"), -0.01, 1.01, _NAN, "0.3", None),
    **_fields((*_OBJECTS, "overlap"), 0, -1, 1.01, _NAN, "0.5", None),
    **_fields((*_OBJECTS, "max_boxes"), 0, -1, 1001, 10**30, 1.5, "300", None),
    **_fields((*_OBJECTS, "extra"), 1),
    **_fields((*_OBJECTS, "view"), None, MISSING),
    **_fields((*_OBJECTS, "model"), "other", None, MISSING),
    **_fields((*_MODEL, "layout"), "", "../x", "a b", "Yolox", "x" * 33, 5),
    **_fields((*_MODEL, "has_graph"), False, None, "yes"),  # nor an architecture
    **_fields((*_MODEL, "outputs"), None, ["Boxes"], "boxes", [5]),
}


def _boxes(*boxes: Any) -> Spoil:
    return of_values("objects", list(boxes), None)


def _box(**changes: Any) -> Spoil:
    return _boxes(samples.box(), samples.box(**changes))


def _without(side: str) -> Spoil:
    """With boxes that lack a field."""

    def change(batch: pa.RecordBatch) -> pa.RecordBatch:
        number = batch.schema.get_field_index("objects")
        box = batch.schema.field(number).type.value_type
        kept = pa.struct([field for field in box if field.name != side])
        rows = [
            row and [{name: each[name] for name in each if name != side} for each in row]
            for row in batch["objects"].to_pylist()
        ]
        return batch.set_column(number, "objects", pa.array(rows, pa.list_(kept)))

    return of_another_schema(change)


def _as_type(kind: pa.DataType) -> Spoil:
    def change(batch: pa.RecordBatch) -> pa.RecordBatch:
        number = batch.schema.get_field_index("objects")
        return batch.set_column(number, "objects", pa.nulls(len(batch), kind))

    return of_another_schema(change)


def _double(batch: pa.RecordBatch) -> pa.RecordBatch:
    number = batch.schema.get_field_index("objects")
    box = batch.schema.field(number).type.value_type
    fields = [(f.name, pa.float64() if f.type == pa.float32() else f.type) for f in box]
    column = batch["objects"].cast(pa.list_(pa.struct(fields)))
    return batch.set_column(number, "objects", column)


_SIDES = ("x1", "y1", "x2", "y2")
# Bounds of the sides are inclusive.
_BEYOND = float(MAX_IMAGE_SIDE_PIXELS) * 1.001

# Of a result's answers.
BOXES: dict[str, Case] = {
    f"schema: boxes: {name}": spoiled_answers(spoil, detection)
    for name, spoil in {
        "none of a good item": of_values("objects", None, None),
        "those of a failed item": of_values("objects", [samples.box()], [samples.box()]),
        "an empty list of a failed item": of_values("objects", [samples.box()], []),
        "no box": _boxes(None),
        "no width": _box(x1=7.0),
        "no height": _box(y1=8.25),
        "a width below zero": _box(x1=7.0, x2=1.5),
        "a height below zero": _box(y1=8.25, y2=2.0),
        "neither": _box(x1=0.0, y1=0.0, x2=0.0, y2=0.0),
        "a width that float32 does not tell": _box(x1=100_000.0, x2=100_000.001),
        **{
            f"{field} {value}": _box(**{field: value})
            for field in (*_SIDES, "score")
            for value in (_NAN, _INFINITY, -_INFINITY, None)
        },
        **{f"{side} {value}": _box(**{side: value}) for side in _SIDES for value in (-0.5, -1e30)},
        **{f"{side} beyond": _box(**{side: _BEYOND}) for side in ("x2", "y2")},
        "no label": _box(label=None),
        "a long label": _box(label="x" * (MAX_LABEL_CHARACTERS + 1)),
        "a long label of few characters": _box(label="\U0001f40e" * (MAX_LABEL_CHARACTERS + 1)),
        "more than max_boxes": _boxes(*[samples.box()] * 301),
        "10,000": _boxes(*[samples.box()] * 10_000),
        **{f"without {name}": _without(name) for name in (*_SIDES, "label", "score")},
        "in double precision": of_another_schema(_double),
        "a list of texts": _as_type(pa.list_(pa.string())),
        "one box and no list": _as_type(PIPELINE.analyses["objects"].answer_type().value_type),
        "a large list": _as_type(
            pa.large_list(PIPELINE.analyses["objects"].answer_type().value_type)
        ),
    }.items()
}
