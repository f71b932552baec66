"""Scores to predictions: softmax, top-k, labels, and what is no score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.errors import ItemErrorCode
from shared.item import ItemFailure
from shared.pipeline import Postprocess
from workers.inference.postprocess import answers

LABELS = ("cat", "dog", "cow")
RAW = Postprocess(top_k=2, softmax=False)


def predictions(output: Any, postprocess: Postprocess = RAW) -> list[tuple[str, float]]:
    (answer,) = answers([output], LABELS, postprocess)
    assert not isinstance(answer, ItemFailure), answer
    return [(p.label, p.score) for p in answer]


def test_logits_become_the_best_labels_with_probabilities() -> None:
    logits = np.log(np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25]], np.float32)) + 3
    first, second = answers(logits, LABELS, Postprocess(top_k=2, softmax=True))
    assert not isinstance(first, ItemFailure)
    assert not isinstance(second, ItemFailure)
    assert [(p.label, round(p.score, 5)) for p in first] == [("dog", 0.7), ("cow", 0.2)]
    assert [(p.label, round(p.score, 5)) for p in second] == [("cat", 0.5), ("dog", 0.25)]


def test_large_logits_do_not_overflow() -> None:
    (answer,) = answers(
        np.array([[1e30, 0, 0]], np.float32), LABELS, Postprocess(top_k=1, softmax=True)
    )
    assert not isinstance(answer, ItemFailure)
    assert answer[0].score == 1.0


def test_unless_softmax_is_asked_for_the_scores_are_given_as_they_are() -> None:
    assert predictions(np.array([5.0, -1.0, 2.0])) == [("cat", 5.0), ("cow", 2.0)]
    (answer,) = answers(np.array([[0.9, 0.08, 0.02]]), (), Postprocess())
    assert not isinstance(answer, ItemFailure)
    assert [p.score for p in answer] == [0.9, 0.08, 0.02]


def test_classes_of_a_model_without_labels_are_named_by_their_index() -> None:
    scores = np.array([[0, 1, 2, 3, 4]], np.float32)
    (answer,) = answers(scores, (), RAW)
    assert not isinstance(answer, ItemFailure)
    assert [p.label for p in answer] == ["4", "3"]


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 12)),
        elements=st.integers(-3, 3).map(float),
    ),
    st.integers(1, 15),
)
def test_the_best_classes_are_those_of_a_whole_stable_sort(scores: Any, top_k: int) -> None:
    given_answers = answers(scores, (), Postprocess(top_k=top_k, softmax=False))
    for answer, row in zip(given_answers, scores, strict=True):
        assert not isinstance(answer, ItemFailure)
        best = np.argsort(-row, kind="stable")[:top_k]
        assert [p.label for p in answer] == [str(c) for c in best]


@pytest.mark.parametrize(
    ("bad", "said"),
    [(np.nan, "score is NaN"), (np.inf, "score is inf"), (-np.inf, "score is -inf")],
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_score_that_is_no_number_fails_its_image_alone(bad: float, said: str, dtype: Any) -> None:
    good, failed = answers(np.array([[1, 2, 3], [1, bad, 3]], dtype), LABELS, RAW)
    assert not isinstance(good, ItemFailure)
    assert isinstance(failed, ItemFailure)
    assert failed.error_code is ItemErrorCode.MODEL_ERROR
    assert f"{said}, of class 1 ('dog')" in failed.error_message


@pytest.mark.parametrize(
    ("count", "labels", "said"),
    [
        (4096, (), "The model gave 4,096 numbers for an image, and labels for at most 1,000"),
        (1001, (), "The model gave 1,001 numbers for an image"),
        (4, LABELS, "The model gave 4 numbers for an image, and has 3 labels"),
    ],
)
def test_more_numbers_than_labels_are_refused(
    count: int, labels: tuple[str, ...], said: str
) -> None:
    batch, alone = np.zeros((2, count), np.float32), [np.zeros(count), [0.0] * count]
    for answer in answers(batch, labels, RAW) + answers(alone, labels, RAW):
        assert isinstance(answer, ItemFailure)
        assert answer.error_message.startswith(said)
        assert "return (label, score) pairs" in answer.error_message
    assert all(isinstance(a, list) for a in answers(np.zeros((2, 1000)), (), RAW))
