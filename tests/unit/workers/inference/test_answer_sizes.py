"""What a chunk's images may answer together, held against the message that it goes in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ItemErrorCode
from shared.item import Item, ItemFailure
from shared.limits import MAX_LABEL_CHARACTERS
from shared.messages import MAX_MESSAGE_BYTES, Prediction, Result, ResultItem
from tests.support.samples import result
from workers.inference.answer_sizes import MAX_ANSWERS_BYTES, fitting
from workers.inference.postprocess import Answer

CHUNK = 64
MAX_CHUNK = 512
NO = ItemFailure(error_code=ItemErrorCode.CORRUPT, error_message="It is damaged.")


def captions(text: str, count: int = 1) -> list[Prediction]:
    return [Prediction(label=text, score=0.12345678901234567)] * count


def message_bytes(answers: list[Answer]) -> int:
    """What the publisher makes of them, with keys of the greatest length."""
    items = [
        ResultItem(
            item=Item(key="ö" * 512, etag="e" * 200, size=5 * 2**40),
            failure=answer if isinstance(answer, ItemFailure) else None,
            predictions=[] if isinstance(answer, ItemFailure) else answer,
        )
        for answer in answers
    ]
    message: Result = result().model_copy(update={"items": items})
    payload = json.dumps([[message.model_dump_json(), "s" * 64], {}, {}], ensure_ascii=False)
    return len(payload.encode())


@pytest.mark.parametrize("character", ["x", "ö", "\u65e5", "\U0001f40e", '"', "\\", "\n", "\x01"])
def test_a_usual_chunk_of_the_longest_captions_fits(character: str) -> None:
    answers: list[Answer] = [captions(character * MAX_LABEL_CHARACTERS)] * CHUNK
    assert fitting(answers) == answers
    assert message_bytes(answers) < MAX_MESSAGE_BYTES


@pytest.mark.parametrize("character", ["x", "\U0001f40e", '"', "\x01"])
@pytest.mark.parametrize(("length", "count"), [(10_000, 1), (10_000, 10), (200, 100), (0, 100)])
def test_the_largest_chunk_is_cut_to_a_message(character: str, length: int, count: int) -> None:
    answers: list[Answer] = [captions(character * length, count)] * MAX_CHUNK
    fitted = fitting(answers)
    assert len(fitted) == MAX_CHUNK
    assert message_bytes(fitted) < MAX_MESSAGE_BYTES
    for answer in fitted:
        if isinstance(answer, ItemFailure):
            assert answer.error_code is ItemErrorCode.MODEL_ERROR
            assert "shorter labels" in answer.error_message
            assert "smaller --chunk-items" in answer.error_message
        else:
            assert answer == answers[0]


def test_the_largest_answers_give_way_and_the_others_keep_their_places() -> None:
    large = captions("x" * MAX_LABEL_CHARACTERS, 100)
    answers: list[Answer] = [large, captions("cat"), NO, *[large] * 7, [], captions("dog")]
    fitted = fitting(answers)
    assert [fitted[n] for n in (1, 2, 10, 11)] == [answers[n] for n in (1, 2, 10, 11)]
    kept = sum(fitted[n] == large for n in (0, *range(3, 10)))
    assert kept == MAX_ANSWERS_BYTES // (100 * (MAX_LABEL_CHARACTERS + 70)) == 5


ANSWERS: Any = st.lists(
    st.just(NO) | st.lists(st.text(max_size=20).map(lambda text: captions(text)[0]), max_size=3),
    max_size=6,
)


@given(ANSWERS, st.integers(0, 300))
def test_what_is_kept_is_within_the_bound_and_nothing_else_changes(
    answers: list[Answer], bound: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.inference.answer_sizes.MAX_ANSWERS_BYTES", bound)
        fitted = fitting(answers)
    empty = message_bytes([NO if isinstance(a, ItemFailure) else [] for a in answers])
    kept = [a if a == given else [] for a, given in zip(fitted, answers, strict=True)]
    assert message_bytes(kept) - empty <= bound
