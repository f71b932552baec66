"""Scores to predictions: softmax, top-k, labels, and what is no score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.analyses.classes import Classes
from shared.errors import ItemErrorCode
from shared.item import ItemFailure
from shared.views.crop import Crop
from tests.support.head_answers import answers, predictions
from workers.inference.errors import ModelUnusable
from workers.inference.heads import NetworkOutputs, head_of

LABELS = ("cat", "dog", "cow")
VIEW = Crop(resize_shorter_pixels=8, crop_pixels=8)


def asked(top_k: int = 2, *, softmax: bool = False) -> Classes:
    return Classes(model="m", view=VIEW, top_k=top_k, softmax=softmax)


def test_logits_become_the_best_labels_with_probabilities() -> None:
    logits = np.log(np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25]], np.float32)) + 3
    given = answers(asked(softmax=True), {"scores": logits, "features": logits}, LABELS)
    rounded = [[(label, round(score, 5)) for label, score in predictions(a)] for a in given]
    assert rounded == [[("dog", 0.7), ("cow", 0.2)], [("cat", 0.5), ("dog", 0.25)]]
    assert [answer["class_index"] for answer in given] == [1, 0]


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[1e30, 0, 0]], np.float32)
    (answer,) = answers(asked(1, softmax=True), {"scores": logits}, LABELS)
    assert predictions(answer) == [("cat", 1.0)]


def test_the_scores_of_a_class_are_given_as_they_are() -> None:
    (answer,) = answers(asked(), [np.array([5.0, -1.0, 2.0])], LABELS)
    assert predictions(answer) == [("cat", 5.0), ("cow", 2.0)]
    assert answer["class_index"] == 0
    (answer,) = answers(asked(3), np.array([[0.5, 0.25, 0.125]]))
    assert predictions(answer) == [("0", 0.5), ("1", 0.25), ("2", 0.125)]


def test_a_class_that_names_its_labels_has_no_numbers_of_classes() -> None:
    given = answers(asked(), ["owl", np.array([1.0, 2.0]), [0.5, 0.25], [], {"a": 1}])
    assert [answer["class_index"] for answer in given] == [None, 1, 0, None, None]


def test_classes_of_a_model_without_labels_are_named_by_their_index() -> None:
    (answer,) = answers(asked(), {"scores": np.array([[0, 1, 2, 3, 4]], np.float32)})
    assert [label for label, _ in predictions(answer)] == ["4", "3"]
    assert answer["class_index"] == 4


SCORES = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 12)),
    elements=st.integers(-3, 3).map(float) | st.just(np.nan),
)


@given(SCORES, st.integers(1, 15))
def test_the_best_classes_are_those_of_a_whole_stable_sort(scores: Any, top_k: int) -> None:
    for answer, row in zip(answers(asked(top_k), {"scores": scores}), scores, strict=True):
        if np.isnan(row).any():
            assert isinstance(answer, ItemFailure)
            continue
        best = np.argsort(-row, kind="stable")[:top_k]
        assert predictions(answer) == [(str(c), row[c]) for c in best]


@given(SCORES, st.booleans())
def test_a_network_and_a_class_that_give_the_same_scores_have_the_same_answers(
    scores: Any, softmax: bool
) -> None:
    kind = asked(3, softmax=softmax)
    assert answers(kind, {"scores": scores}) == answers(kind, list(scores))


@pytest.mark.parametrize(
    ("bad", "said"),
    [(np.nan, "score is NaN"), (np.inf, "score is inf"), (-np.inf, "score is -inf")],
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_score_that_is_no_number_fails_its_image_alone(bad: float, said: str, dtype: Any) -> None:
    scores = np.array([[1, 2, 3], [1, bad, 3]], dtype)
    good, failed = answers(asked(), {"scores": scores}, LABELS)
    assert predictions(good) == [("cow", 3), ("dog", 2)]
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
    for outputs, advice in (
        (batch, "return (label, score) pairs"),
        (alone, "return (label, score) pairs"),
        ({"scores": batch}, "add a labels file to the model"),
    ):
        if labels:
            advice = "give its labels file a line for each"
        for answer in answers(asked(), outputs, labels):
            assert isinstance(answer, ItemFailure)
            assert answer.error_message.startswith(said)
            assert f": {advice}, or ask for an analysis of kind 'vector'." in answer.error_message
    assert not any(isinstance(a, ItemFailure) for a in answers(asked(), np.zeros((2, 1000))))


def test_a_network_without_scores_cannot_be_used() -> None:
    with pytest.raises(ModelUnusable, match="gives no scores"):
        answers(asked(), {"features": np.zeros((1, 3), np.float32)})


def test_two_engines_agree_where_their_best_class_is_the_same() -> None:
    exact = np.array([[1, 2, 3], [3, 2, 1]], np.float32)
    other = NetworkOutputs({"scores": np.array([[2, 1, 4], [1, 2, 0]], np.float32)})
    agreement = head_of("classes").agreement(NetworkOutputs({"scores": exact}), other)
    assert agreement is not None
    assert agreement.tolist() == [True, False]
    assert head_of("classes").agreement(NetworkOutputs({"features": exact}), other) is None
