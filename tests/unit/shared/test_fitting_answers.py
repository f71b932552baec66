"""What a chunk's images may answer together, held against the message that it goes in."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.answers import MAX_ANSWER_BYTES, fitting
from shared.errors import ItemErrorCode
from shared.item import ItemFailure
from shared.limits import MAX_LABEL_CHARACTERS
from shared.messages import MAX_MESSAGE_BYTES, Result
from shared.pipeline import Pipeline
from shared.stages import INFERENCE
from tests.support.samples import answers, box, detector, pipeline, result

CHUNK = 64
MAX_CHUNK = 512
NO = ItemFailure(error_code=ItemErrorCode.CORRUPT, error_message="It is damaged.")
PIPELINE = pipeline(postprocess={"top_k": 100})


def captions(text: str, count: int = 1) -> dict[str, Any]:
    """Of one image."""
    answer = {"class_index": None, "predictions": [{"label": text, "score": 0.5}] * count}
    return {"classes": answer}


def answered(*rows: dict[str, Any] | ItemFailure) -> pa.RecordBatch:
    return answers(PIPELINE, INFERENCE, *rows)


def message_bytes(found: pa.RecordBatch, of: Pipeline = PIPELINE) -> int:
    """What the publisher makes of them. The result is a valid one."""
    text = result(pipeline=of, answers=found).model_dump_json()
    assert Result.model_validate_json(text).answers.equals(found)
    return len(json.dumps([[text, "s" * 64], {}, {}], ensure_ascii=False).encode())


@pytest.mark.parametrize("character", ["x", "ö", "\u65e5", "\U0001f40e", '"', "\\", "\n", "\x01"])
def test_a_usual_chunk_of_the_longest_captions_fits(character: str) -> None:
    found = answered(*[captions(character * MAX_LABEL_CHARACTERS)] * CHUNK)
    assert fitting(found) is found
    assert message_bytes(found) < MAX_MESSAGE_BYTES


@pytest.mark.parametrize("character", ["x", "\U0001f40e"])
@pytest.mark.parametrize(("length", "count"), [(10_000, 1), (1000, 10), (200, 100), (0, 100)])
def test_the_largest_chunk_is_cut_to_a_message(character: str, length: int, count: int) -> None:
    found = answered(*[captions(character * length, count)] * MAX_CHUNK)
    fitted = fitting(found)
    assert message_bytes(fitted) < MAX_MESSAGE_BYTES
    failed = [row for row in fitted.to_pylist() if row["error_code"] is not None]
    assert bool(failed) == (found.nbytes > MAX_ANSWER_BYTES)
    for row in failed:
        assert row["error_code"] == ItemErrorCode.MODEL_ERROR
        assert "smaller --chunk-items" in row["error_message"]


def test_the_largest_answers_give_way_and_the_others_keep_their_places() -> None:
    large = captions("x" * MAX_LABEL_CHARACTERS, 100)
    found = answered(large, captions("cat"), NO, *[large] * 7, captions("", 0), captions("dog"))
    fitted = fitting(found)
    for row in (1, 2, 10, 11):
        assert fitted.slice(row, 1).equals(found.slice(row, 1))
    kept = sum(fitted["error_code"][n].as_py() is None for n in (0, *range(3, 10)))
    assert kept == 5


def test_all_answers_may_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.answers.MAX_ANSWER_BYTES", 10)
    fitted = fitting(answered(captions("cat"), captions("dog")))
    assert fitted["error_code"].null_count == 0
    assert message_bytes(fitted) < MAX_MESSAGE_BYTES


def boxes(label: str, count: int) -> dict[str, Any]:
    """Of one image."""
    return {"objects": [box(label=label)] * count}


def detected(pipeline: Pipeline, *rows: dict[str, Any]) -> pa.RecordBatch:
    return answers(pipeline, INFERENCE, *rows)


@pytest.mark.parametrize(
    ("max_boxes", "label", "fits"),
    [
        (300, "traffic light!", True),
        (1000, "traffic light!", True),
        (1000, "x" * 57, True),
        (1000, "x" * 100, False),
        (1000, "\U0001f40e" * 250, False),
    ],
)
def test_a_usual_chunk_of_boxes_fits_unless_labels_are_long(
    max_boxes: int, label: str, fits: bool
) -> None:
    pipeline = detector(max_boxes=max_boxes)
    count = min(CHUNK, pipeline.max_items_by_answers)
    assert count == CHUNK
    found = detected(pipeline, *[boxes(label, max_boxes)] * count)
    fitted = fitting(found)
    assert (fitted is found) == fits
    assert message_bytes(fitted, pipeline) < MAX_MESSAGE_BYTES
    failed = [text for text in fitted["error_message"].to_pylist() if text is not None]
    assert bool(failed) != fits
    assert all("as by a lower max_boxes" in text for text in failed)


@pytest.mark.parametrize(("more", "failed"), [(0, 0), (1, 1)])
def test_answers_just_at_the_bound_travel_and_a_byte_more_does_not(more: int, failed: int) -> None:
    pipeline = detector(max_boxes=1000)
    rows = [boxes("x" * 50, 1000)] * (CHUNK - 1)
    left = MAX_ANSWER_BYTES - detected(pipeline, *rows, boxes("", 1000)).nbytes
    share, rest = divmod(left + more, 1000)
    last = [box(label="y" * (share + (n < rest))) for n in range(1000)]
    found = detected(pipeline, *rows, {"objects": last})
    assert found.nbytes == MAX_ANSWER_BYTES + more
    fitted = fitting(found)
    assert len(fitted) - fitted["error_code"].null_count == failed
    assert message_bytes(fitted, pipeline) < MAX_MESSAGE_BYTES


ROWS: Any = st.lists(st.just(NO) | st.text(max_size=20).map(captions), min_size=1, max_size=6)


@given(ROWS, st.integers(0, 600))
def test_what_is_kept_is_within_the_bound_and_nothing_else_changes(
    rows: list[dict[str, Any] | ItemFailure], bound: int
) -> None:
    found = answered(*rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared.answers.MAX_ANSWER_BYTES", bound)
        fitted = fitting(found)
    kept = [row for row in range(len(rows)) if fitted.slice(row, 1).equals(found.slice(row, 1))]
    if len(kept) < len(rows):
        assert sum(found.slice(row, 1).nbytes for row in kept if rows[row] is not NO) <= bound
    for row in set(range(len(rows))) - set(kept):
        assert "give fewer or shorter answers" in fitted["error_message"][row].as_py()
