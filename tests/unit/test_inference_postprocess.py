"""Outputs to predictions: softmax, top-k, labels, and every form a user's class may give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.errors import ItemErrorCode
from shared.messages import ItemFailure
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
    first, second = answers(logits, LABELS, Postprocess(top_k=2))
    assert not isinstance(first, ItemFailure)
    assert not isinstance(second, ItemFailure)
    assert [(p.label, round(p.score, 5)) for p in first] == [("dog", 0.7), ("cow", 0.2)]
    assert [(p.label, round(p.score, 5)) for p in second] == [("cat", 0.5), ("dog", 0.25)]


def test_large_logits_do_not_overflow() -> None:
    (answer,) = answers(np.array([[1e30, 0, 0]], np.float32), LABELS, Postprocess(top_k=1))
    assert not isinstance(answer, ItemFailure)
    assert answer[0].score == 1.0


def test_without_softmax_the_scores_are_given_as_they_are() -> None:
    assert predictions(np.array([5.0, -1.0, 2.0])) == [("cat", 5.0), ("cow", 2.0)]


def test_classes_without_a_label_are_named_by_their_index() -> None:
    scores = np.array([[0, 1, 2, 3, 4]], np.float32)
    (answer,) = answers(scores, LABELS, RAW)
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


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_fails_its_image_alone(bad: float) -> None:
    good, failed = answers(np.array([[1, 2, 3], [1, bad, 3]], np.float32), LABELS, RAW)
    assert not isinstance(good, ItemFailure)
    assert isinstance(failed, ItemFailure)
    assert failed.error_code is ItemErrorCode.MODEL_ERROR


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("owl", [("owl", 1.0)]),
        (np.str_("owl"), [("owl", 1.0)]),
        (("owl", 0.5), [("owl", 0.5)]),
        (("owl", np.float32(0.5)), [("owl", 0.5)]),
        ([("a", 0.1), ("b", 0.7), ("c", 0.2)], [("b", 0.7), ("c", 0.2)]),
        ((("a", 1), ("b", 2)), [("b", 2.0), ("a", 1.0)]),
        ([["a", 1], ["b", 2]], [("b", 2.0), ("a", 1.0)]),
        ({"a": 0.1, "b": 0.7}, [("b", 0.7), ("a", 0.1)]),
        ([], []),
        ({}, []),
        (np.array([1, 3, 2]), [("dog", 3.0), ("cow", 2.0)]),
    ],
)
def test_the_forms_that_a_users_class_may_give(
    output: Any, expected: list[tuple[str, float]]
) -> None:
    assert predictions(output) == expected


@pytest.mark.parametrize(
    "output",
    [
        None,
        3.5,
        object(),
        b"owl",
        ("owl", "0.5"),
        [("owl", None)],
        [("owl", 1, 2)],
        [3, 4],
        ["ab", "cd"],
        ("owl", float("nan")),
        ("owl", 1e300),
        ("owl", 10**400),
        {"owl": "high"},
        {1: 0.5},
        "x" * 201,
        "\ud800",
        np.zeros((2, 2)),
        np.zeros(0),
        np.array(["a", "b"]),
        np.array([1, np.nan]),
        np.array([object()]),
    ],
)
def test_anything_else_is_an_explained_failure(output: Any) -> None:
    (answer,) = answers([output], LABELS, RAW)
    assert isinstance(answer, ItemFailure)
    assert answer.error_code is ItemErrorCode.MODEL_ERROR
    assert answer.error_message.startswith("The model gave ")
