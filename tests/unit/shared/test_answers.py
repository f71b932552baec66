"""Answers as they travel: what goes in comes out, and nothing else than answers comes in."""

from __future__ import annotations

import random
import resource
from typing import Any

import pyarrow as pa
import pytest

from shared import record_batches
from shared.analyses.classes import Classes
from shared.analyses.palette import Palette
from shared.analyses.values import Values
from shared.analyses.vector import Vector
from shared.answers import (
    about_items,
    all_failed,
    answer_schema,
    decode_answers,
    failed_also,
    fitting,
    good_rows,
    problem_of,
    with_answers,
)
from shared.errors import ItemErrorCode
from shared.item import ItemFailure
from shared.limits import MAX_CHUNK_ITEMS
from shared.stages import INFERENCE, PREPROCESS
from shared.views.crop import Crop
from tests.support.injection.extent import SEED
from tests.support.malformed.answers import FAILED, SPOILS, Spoil, with_column
from tests.support.samples import MODEL, answers, class_model, long_pipeline, prediction

VIEW = Crop(resize_shorter_pixels=8, crop_pixels=8)
FIELDS: Any = {"t": "text", "i": "int", "f": "float", "b": "bool", "ts": "list of text"}
PIPELINE = long_pipeline(
    {
        "what": Classes(model="tiny", view=VIEW, top_k=2),
        "embedding": Vector(model="tiny", view=VIEW, length=2),
        "colours": Palette(view=VIEW, count=2),
        "own": Values(model="own", view=VIEW, fields={**FIELDS, "fs": "list of float"}),
    },
    (MODEL, class_model("own:Own")),
)
COLOUR = {"hex": "#1e90ff", "share": 0.5, "name": "dodgerblue"}
VALUES = {"t": "x", "i": 1, "f": 0.5, "b": True, "ts": ["a", None], "fs": [1.0]}
ROW = {
    "warning": "damaged_data",
    "what": {"class_index": 3, "predictions": [{"label": "cat", "score": 0.5}]},
    "embedding": [1.0, 0.0],
    "colours": [COLOUR],
    "own": VALUES,
}
WHOLE = answers(PIPELINE, INFERENCE, ROW, FAILED, {**ROW, "warning": None, "colours": []})
FLIPS = 2000
MAX_GROWTH_BYTES = 64 * 2**20


def decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    return decode_answers(record_batches.encode(batch), PIPELINE, INFERENCE)


def test_answers_come_out_as_they_went_in() -> None:
    assert decoded(WHOLE).equals(WHOLE)
    first = answers(PIPELINE, PREPROCESS, {"colours": [COLOUR]}, FAILED)
    assert first.schema.names[-1] == "colours"
    data = record_batches.encode(first)
    assert decode_answers(data, PIPELINE, PREPROCESS).equals(first)
    with pytest.raises(ValueError, match="columns are not those"):
        decode_answers(data, PIPELINE, INFERENCE)


def test_slices_travel_alone() -> None:
    """A column that is a part of another, as joined batches have them."""
    assert decoded(WHOLE.slice(1, 1)).equals(WHOLE.slice(1, 1))


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS.keys())
def test_what_is_no_answer_is_refused(spoil: Spoil) -> None:
    with pytest.raises(ValueError):
        decode_answers(spoil(WHOLE.slice(0, 2)), PIPELINE, INFERENCE)


def flipped(chance: random.Random, data: bytes) -> bytes:
    """Bytes, or numbers of four or eight, overwritten with what is likeliest to do harm."""
    new = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        width = chance.choice((1, 1, 4, 8))
        place = chance.randrange(len(new) - 8) // width * width
        odd = (0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), chance.getrandbits(8 * width))
        new[place : place + width] = chance.choice(odd).to_bytes(width, "little")
    return bytes(new)


def test_no_damage_crashes_or_fills_the_process() -> None:
    chance, data = random.Random(SEED), record_batches.encode(WHOLE)
    start = len(answer_schema(PIPELINE, INFERENCE).serialize())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = 0
    for number in range(FLIPS):
        # Most of it behind the schema, which is compared as a whole.
        spoiled = (
            flipped(chance, data)
            if number % 8 == 0
            else data[:start] + flipped(chance, data[start:])
        )
        try:
            found = decode_answers(spoiled, PIPELINE, INFERENCE)
        except ValueError:
            continue
        read += 1
        assert problem_of(found, PIPELINE) is None
        found.to_pylist()  # reads each value, as rows do
        for name, analysis in PIPELINE.analyses.items():
            analysis.column(found[name]).validate(full=True)
    assert 0 < read < FLIPS
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < MAX_GROWTH_BYTES


@pytest.mark.parametrize("end", range(0, 4000, 61))
def test_truncated_answers_are_refused(end: int) -> None:
    data = record_batches.encode(WHOLE)
    with pytest.raises(ValueError):
        decode_answers(data[: min(end, len(data) - 1)], PIPELINE, INFERENCE)


def changed(name: str, value: Any) -> str | None:
    """What is wrong where the first item has ``value``."""
    column = WHOLE[name].to_pylist()
    return problem_of(decode_schema_only(name, [value, *column[1:]]), PIPELINE)


def decode_schema_only(name: str, values: list[Any]) -> pa.RecordBatch:
    """As it comes out of Arrow, before its values are looked at."""
    batch = with_column(WHOLE, name, values)
    return record_batches.decode(record_batches.encode(batch), batch.schema)


def predictions(*given: dict[str, Any] | None, index: int | None = 0) -> dict[str, Any]:
    return {"class_index": index, "predictions": list(given)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("what", prediction("é" * 10_000)),
        ("what", predictions(index=None)),
        ("embedding", [-3.4e38, 3.4e38]),
        ("colours", [{**COLOUR, "share": share} for share in (0.0, 1.0)]),
        ("own", dict.fromkeys(VALUES)),
        ("own", {**VALUES, "ts": [None] * 1000, "t": "x" * 10_000}),
    ],
)
def test_values_at_their_bounds_are_taken(name: str, value: Any) -> None:
    assert changed(name, value) is None


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        *((name, None, "has none") for name in PIPELINE.analyses),
        ("what", prediction("x" * 10_001), "label of more than"),
        ("what", prediction("x", float("nan")), "finite score"),
        ("what", prediction("x", float("-inf")), "finite score"),
        ("what", predictions(*[{"label": "a", "score": 1.0}] * 3), "more than 2"),
        ("what", predictions({"label": None, "score": 1.0}), "without a label"),
        ("what", predictions(None), "without predictions"),
        ("what", predictions(index=-1), "class_index that is not"),
        ("embedding", [1.0, float("nan")], "not finite"),
        ("embedding", [1.0, float("inf")], "not finite"),
        ("embedding", [None, 1.0], "not finite"),
        *(
            ("colours", [{**COLOUR, "hex": hexadecimal}], "not like")
            for hexadecimal in ("", "1e90ff", "#1E90FF", "#1e90ff ", "#1e90ff\n", "#1e90f", "#" * 7)
        ),
        *(
            ("colours", [{**COLOUR, "share": share}], "not from 0 to 1")
            for share in (-0.001, 1.001, float("nan"), float("inf"))
        ),
        ("colours", [{**COLOUR, "name": "x" * 65}], "too long"),
        *(("colours", [{**COLOUR, field: None}], "incomplete") for field in COLOUR),
        ("colours", [None], "incomplete"),
        ("colours", [COLOUR] * 3, "more than 2"),
        ("own", {**VALUES, "t": "x" * 10_001}, "t: a text"),
        ("own", {**VALUES, "ts": ["x" * 10_001]}, "ts: a text"),
        ("own", {**VALUES, "ts": ["x"] * 1001}, "ts: more than"),
        ("own", {**VALUES, "f": float("nan")}, "not finite"),
        ("own", {**VALUES, "fs": [float("inf")]}, "not finite"),
    ],
)
def test_values_out_of_bounds_are_told(name: str, value: Any, problem: str) -> None:
    found = changed(name, value)
    assert found is not None
    assert found.startswith(f"{name}: ")
    assert problem in found
    assert len(found) < 100


@pytest.mark.parametrize("name", PIPELINE.analyses)
def test_an_answer_of_a_failed_item_is_told(name: str) -> None:
    batch = decode_schema_only(name, [ROW[name]] * 3)
    expected = f"{name}: an item that failed has an answer, or one that did not has none"
    assert problem_of(batch, PIPELINE) == expected


def test_columns_are_joined_to_the_items_that_did_not_fail() -> None:
    schema = answer_schema(PIPELINE, PREPROCESS)
    known = pa.RecordBatch.from_pydict(about_items([(9, 8), None, (7, 6)], {1: FAILED}, {2: "x"}))
    assert good_rows(known).to_pylist() == [0, 2]
    late = ItemFailure.of(ItemErrorCode.MODEL_ERROR, "late")
    colours = pa.array([[COLOUR], []], schema.field("colours").type)
    joined = with_answers(known, schema, {"colours": colours}, {2: late})
    assert joined["colours"].to_pylist() == [[COLOUR], None, None]
    assert joined["error_code"].to_pylist() == [None, "corrupt", "model_error"]
    assert joined["error_message"].to_pylist() == [None, "It is damaged.", "late"]
    assert joined["width"].to_pylist() == [9, None, 7]


def test_a_chunk_may_fail_as_a_whole() -> None:
    schema = answer_schema(PIPELINE, INFERENCE)
    failed = all_failed(3, schema, FAILED)
    assert decoded(failed).equals(failed)
    assert failed_also(WHOLE, dict.fromkeys(range(3), FAILED))["what"].null_count == 3


def test_the_largest_answers_fail_where_all_of_them_do_not_fit() -> None:
    long = {**ROW, "own": {**VALUES, "ts": ["x" * 10_000] * 100}}
    sizes = [ROW, *[long] * 9, ROW]
    found = fitting(answers(PIPELINE, INFERENCE, *sizes))
    failed = [number for number, code in enumerate(found["error_code"].to_pylist()) if code]
    assert failed
    assert not {0, 10} & set(failed)
    assert len(failed) < 9
    assert decoded(found).equals(found)


def test_as_many_items_as_a_chunk_may_have_fit() -> None:
    many = answers(PIPELINE, INFERENCE, *[ROW] * MAX_CHUNK_ITEMS)
    assert decoded(many).equals(many)
