"""Boxes of a user's class, in every form, as they come from its host."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.analyses.boxes import Boxes
from shared.errors import ItemErrorCode
from shared.item import ItemFailure
from shared.views.letterbox import Letterbox
from tests.support.head_answers import answers
from workers.inference.class_host.values import pack, unpack
from workers.inference.heads.given_boxes import MAX_ENTRIES

# An original of 200 by 100 pixels lies in its rows 25 to 75.
VIEW = Letterbox(width=100, height=100)
SIZE = (200, 100)
SIDES = ("x1", "y1", "x2", "y2")
Found = list[tuple[str, float, list[float]]]
FOUND: Found = [("cat", 0.75, [20, 10, 100, 50]), ("dog", 0.5, [0, 0, 200, 100])]
ENTRIES = [("dog", 0.5, 0, 25, 100, 75), ("cat", 0.75, 10, 30, 50, 50), ("cow", 0.25, 1, 30, 9, 40)]
NUMBERED = np.array([[1, 0.5, 0, 25, 100, 75], [0, 0.75, 10, 30, 50, 50]])


def answer_to(output: Any, labels: tuple[str, ...] = (), **options: Any) -> Any:
    asked = Boxes(model="m", view=VIEW, **options)
    (answer,) = answers(asked, unpack(*pack([output])), labels, SIZE)
    assert answers(asked, [output], labels, SIZE) == [answer] or isinstance(answer, ItemFailure)
    return answer


def found(answer: Any) -> Found:
    assert not isinstance(answer, ItemFailure), answer
    return [(box["label"], box["score"], [box[side] for side in SIDES]) for box in answer]


def refused(output: Any, labels: tuple[str, ...] = ()) -> str:
    answer = answer_to(output, labels)
    assert isinstance(answer, ItemFailure), answer
    assert answer.error_code is ItemErrorCode.MODEL_ERROR
    return answer.error_message


@pytest.mark.parametrize(
    "output",
    [
        ENTRIES,
        tuple(ENTRIES),
        [list(entry) for entry in ENTRIES],
        [{"label": e[0], "score": e[1], "box": list(e[2:])} for e in ENTRIES],
        [{"label": e[0], "score": e[1], "box": torch.tensor(e[2:])} for e in ENTRIES],
        [dict(zip(("label", "score", *SIDES), e, strict=True)) for e in ENTRIES],
        [(np.str_(e[0]), np.float16(e[1]), *map(torch.tensor, e[2:])) for e in ENTRIES],
        {
            "boxes": [e[2:] for e in ENTRIES],
            "scores": [e[1] for e in ENTRIES],
            "labels": [e[0] for e in ENTRIES],
        },
        {
            "boxes": np.array([e[2:] for e in ENTRIES], np.int32),
            "scores": np.array([e[1] for e in ENTRIES]),
            "labels": np.array([e[0] for e in ENTRIES]),
            "masks": np.zeros((3, 1, 9, 9)),
        },
    ],
)
def test_every_form_is_read_and_mapped_into_the_original(output: Any) -> None:
    assert found(answer_to(output)) == FOUND
    assert found(answer_to(output, max_boxes=1)) == FOUND[:1]
    assert len(found(answer_to(output, min_score=0.25))) == 3


@pytest.mark.parametrize(
    "output",
    [
        NUMBERED,
        torch.tensor(NUMBERED, dtype=torch.float16),
        list(NUMBERED),
        NUMBERED.tolist(),
        [(int(row[0]), *row[1:]) for row in NUMBERED.tolist()],
        {
            "boxes": torch.tensor(NUMBERED[:, 2:]),
            "scores": torch.tensor(NUMBERED[:, 1]),
            "labels": torch.tensor([1, 0]),
        },
    ],
)
def test_numbers_stand_for_classes(output: Any) -> None:
    assert found(answer_to(output, ("cat", "dog"))) == FOUND
    assert [label for label, *_ in found(answer_to(output))] == ["0", "1"]
    assert "label is 1, and there are 1 labels, in entry 1 of 2" in refused(output, ("cat",))


@pytest.mark.parametrize(
    "output",
    [
        [],
        (),
        np.zeros((0, 6)),
        np.zeros(0),
        torch.zeros((0, 6)),
        {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "labels": []},
        [("cat", 0.1, 10, 30, 50, 50)],
    ],
)
def test_an_image_may_have_no_objects(output: Any) -> None:
    assert found(answer_to(output)) == []


def test_boxes_that_overlap_are_kept_as_they_are() -> None:
    assert len(found(answer_to([("cat", 0.5, 10, 30, 50, 50)] * 3))) == 3


def test_boxes_are_clipped_and_those_without_an_area_dropped() -> None:
    sides = [
        (-1e38, -1e38, 1e38, 1e38),
        (0, 0, 100, 26),
        (0, 0, 100, 25),  # above the image
        (50, 30, 40, 40),
        (50, 30, 50, 40),
        (120, 30, 130, 40),
    ]
    boxes = [box for *_, box in found(answer_to([("cat", 1, *four) for four in sides]))]
    assert boxes == [[0, 0, 200, 100], [0, 0, 200, 2]]


BOX = (10, 30, 50, 50)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (None, "output: None. Return for each image a list of (label, score, x1, y1, x2, y2)"),
        ("cat", "'cat' (str). Return"),
        (7, "7 (int). Return"),
        (np.zeros((3, 5)), "float64 of shape (3, 5) (ndarray). Return"),
        (np.zeros(6), "float64 of shape (6,) (ndarray). Return"),
        ({"boxes": [], "scores": []}, "a dict of 2. Return"),
        ({"boxes": [], "scores": 1, "labels": []}, "'scores' is 1 (int). Return"),
        (
            {"boxes": [BOX], "scores": [1, 1], "labels": []},
            "1 boxes, 2 scores and 0 labels: give as many of each",
        ),
        ({"boxes": [BOX[:3]], "scores": [1], "labels": [1]}, "box is a tuple of 3, not (x1, y1"),
        ({"boxes": [1], "scores": [1], "labels": [1]}, "box is 1 (int), not (x1, y1, x2, y2)"),
        (("cat", 1, *BOX), "entry 1 of 6 is 'cat' (str), not (label, score, x1, y1, x2, y2)"),
        ([("cat", 1, *BOX[:3])], "entry 1 of 1 is a tuple of 5, not (label, score"),
        ([("cat", 1, *BOX), ["cat", 1, BOX]], "entry 2 of 2 is a list of 3, not (label"),
        ([{"label": "cat", "box": BOX}], "score is None, in entry 1 of 1"),
        ([{"score": 1, "box": BOX}], "label is None, in entry 1 of 1"),
        ([{"label": "cat", "score": 1}], "x1 is None, y1 is None, x2 is None, y2 is None, in"),
        ([("cat", 1, 1, 2, np.nan, 4)], "x2 is NaN, in entry 1 of 1"),
        ([("cat", np.inf, *BOX)], "score is inf, in entry 1 of 1"),
        ([("cat", 1, 1, 2, 3, "4")], "y2 is '4' (str), in entry 1 of 1"),
        ([("cat", 1, True, 2, 3, 4)], "x1 is True (bool), in entry 1 of 1"),
        ([("cat", 1, 1e39, 2, 3, 4)], "x1 is 1e+39 (float), beyond 3.4e+38, in entry"),
        ([("\ud83d", 1, *BOX)], "half a character of Unicode, in entry 1 of 1"),
        ([("x" * 10_001, 1, *BOX)], "label has 10,001 characters, at most 10,000, in entry"),
        ([([], 1, *BOX)], "label is a list of 0, in entry 1 of 1"),
        (
            np.array([[10.5, 30, 50, 50, 0.9, 3]]),
            "label is 10.5 (float): the order is label, score, x1, y1, x2, y2, in entry 1 of 1",
        ),
        (np.array([[0, np.nan, *BOX]]), "score is NaN, in entry 1 of 1"),
    ],
)
def test_what_is_no_box_fails_and_says_why(output: Any, said: str) -> None:
    assert said in refused(output)


def test_an_output_that_is_refused_leaves_the_others_as_they_are() -> None:
    asked = Boxes(model="m", view=VIEW)
    first, failed, last = answers(asked, [ENTRIES, "cat", []], (), SIZE)
    assert (found(first), found(last)) == (FOUND, [])
    assert isinstance(failed, ItemFailure)


def test_a_batch_may_be_one_array() -> None:
    asked = Boxes(model="m", view=VIEW)
    for answer in answers(asked, np.stack([NUMBERED, NUMBERED]), ("cat", "dog"), SIZE):
        assert found(answer) == FOUND


VALUES = (
    st.floats()
    | st.integers()
    | st.text(max_size=3)
    | st.sampled_from([None, True, 1e30, -0.0, 50.0, np.float32(7), b"x", "\ud83d"])
)
KEYS = st.sampled_from(["label", "score", "box", "boxes", "scores", "labels", *SIDES])
OUTPUTS = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)
ALMOST = st.lists(st.tuples(VALUES, *[st.floats(-50, 150) | VALUES] * 5), max_size=4)


@settings(max_examples=40)
@given(OUTPUTS | ALMOST, st.sampled_from([(), ("cat", "dog")]))
def test_whatever_a_class_gives_an_image_has_an_answer_or_a_failure(
    output: Any, labels: tuple[str, ...]
) -> None:
    answer_to(output, labels, min_score=0)


@pytest.mark.parametrize("count", [MAX_ENTRIES + 1, 10_000_000])
def test_too_many_boxes_are_refused_before_they_are_read(count: int) -> None:
    table = np.broadcast_to(np.zeros(6, np.float32), (count, 6))
    arrays = {"boxes": table[:, :4], "scores": table[:, 0], "labels": table[:, 0]}
    for output in (table, arrays):
        (answer,) = answers(Boxes(model="m", view=VIEW), [output], (), SIZE)
        assert isinstance(answer, ItemFailure)
        assert f"{count:,} boxes, at most {MAX_ENTRIES:,}: leave out" in answer.error_message
