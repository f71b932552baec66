"""Raw arrays of a detector to objects in the original."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.analyses.boxes import Boxes
from shared.errors import ItemErrorCode
from shared.item import ItemFailure
from shared.placement import Size
from shared.views import View
from shared.views.crop import Crop
from shared.views.letterbox import Letterbox
from shared.views.stretch import Stretch
from tests.support.detectors import CANVAS, raw_arrays
from tests.support.head_answers import answers
from workers.inference.errors import ModelUnusable
from workers.inference.heads import NetworkOutputs
from workers.inference.layouts import LAYOUTS

SQUARE = Stretch(width=100, height=100)
VIEW = Stretch(width=CANVAS[0], height=CANVAS[1])
LABELS = ("cat", "dog", "Hund 🐕")
SIDES = ("x1", "y1", "x2", "y2")


def asked(view: View = SQUARE, **options: Any) -> Boxes:
    return Boxes(model="m", view=view, **options)


def rows(*images: Sequence[tuple[float, ...]], view: View = SQUARE) -> NetworkOutputs:
    """Boxes of each image: centre, size, objectness and the scores of the classes."""
    return NetworkOutputs(
        {"boxes": np.array(images, np.float32)}, "rows_with_objectness", view.canvas
    )


def final(boxes: Any, scores: Any, labels: Any, view: View = SQUARE) -> NetworkOutputs:
    arrays = {
        "boxes": np.array(boxes, np.float32),
        "box_scores": np.array(scores, np.float32),
        "box_labels": np.array(labels, np.float32),
    }
    return NetworkOutputs(arrays, "final_boxes", view.canvas)


def corners(answer: Any) -> list[list[float]]:
    assert not isinstance(answer, ItemFailure), answer
    return [[box[side] for side in SIDES] for box in answer]


def message(answer: Any) -> str:
    assert isinstance(answer, ItemFailure)
    assert answer.error_code is ItemErrorCode.MODEL_ERROR
    return answer.error_message


def test_the_best_of_boxes_that_overlap_is_kept_in_each_class() -> None:
    boxes = [
        (20, 20, 20, 20, 0.5, 1, 0, 0),
        (21, 20, 20, 20, 0.9, 1, 0, 0),
        (21, 21, 20, 20, 0.8, 0, 1, 0),
        (70, 70, 10, 10, 1, 0, 0.2, 0.7),
        (80, 20, 10, 10, 0.29, 0, 0, 1),
    ]
    (answer,) = answers(asked(), rows(boxes), LABELS, (200, 100))
    assert [box["label"] for box in answer] == ["cat", "dog", "Hund 🐕"]
    assert [round(box["score"], 6) for box in answer] == [0.9, 0.8, 0.7]
    assert corners(answer) == [[22, 10, 62, 30], [22, 11, 62, 31], [130, 65, 150, 75]]


def test_a_box_counts_once_for_each_class_that_scores_enough() -> None:
    boxes = [(20, 20, 20, 20, 1, 0.9, 0.6, 0.1), (22, 20, 20, 20, 1, 0.5, 0.8, 0.1)]
    (answer,) = answers(asked(), rows(boxes), LABELS, (100, 100))
    found = [(box["label"], round(box["score"], 6), box["x1"]) for box in answer]
    assert found == [("cat", 0.9, 10), ("dog", 0.8, 12)]
    (answer,) = answers(asked(overlap=1), rows(boxes), LABELS, (100, 100))
    assert [round(box["score"], 6) for box in answer] == [0.9, 0.8, 0.6, 0.5]


def test_classes_without_labels_are_named_by_their_number() -> None:
    (answer,) = answers(asked(), rows([(20, 20, 20, 20, 1, 0, 1)]))
    assert [box["label"] for box in answer] == ["1"]
    (answer,) = answers(asked(), final([[[1, 1, 9, 9]]], [[0.5]], [[2_000_000_000]]))
    assert [box["label"] for box in answer] == ["2000000000"]


@pytest.mark.parametrize(
    "view",
    [
        Stretch(width=320, height=200),
        Letterbox(width=320, height=320),
        Letterbox(width=320, height=200, align="top_left"),
        Crop(resize_shorter_pixels=256, crop_pixels=224),
    ],
)
@pytest.mark.parametrize("size", [(640, 480), (333, 1000), (50, 20), (4000, 3001)])
def test_boxes_come_back_where_they_were_in_the_original(view: View, size: Size) -> None:
    random = np.random.default_rng(1)
    first = random.uniform(0, 0.6, (30, 2))
    known = np.concatenate([first, first + random.uniform(0.05, 0.4, (30, 2))], axis=1)
    known = known * [*size, *size]
    placed = view.place(size)
    scale = np.array(placed.resized) / size
    seen = known * [*scale, *scale] + [*placed.offset, *placed.offset]
    scores = np.linspace(1, 0.5, 30)
    (answer,) = answers(asked(view), final([seen], [scores], [[0] * 30], view), LABELS, size)
    np.testing.assert_allclose(corners(answer), known, atol=2e-3 * max(size) / 224)


def test_boxes_are_clipped_to_the_image_and_those_outside_are_dropped() -> None:
    view = Letterbox(width=100, height=100)  # of 200 by 100 pixels, in rows 25 to 75
    boxes = [
        [-1e30, -10, 1e30, 300],
        [10, 0, 90, 30],
        [10, 76, 90, 99],
        [10, 0, 90, 25],
        [-20, 30, -1, 60],
        [50, 50, 40, 60],
        [40, 40, 40, 60],
    ]
    scores = np.linspace(1, 0.5, len(boxes))
    given_ = final([boxes], [scores], [[0] * len(boxes)], view)
    (answer,) = answers(asked(view), given_, LABELS, (200, 100))
    assert corners(answer) == [[0, 0, 200, 100], [20, 0, 180, 10]]
    (answer,) = answers(asked(view, max_boxes=1), given_, LABELS, (200, 100))
    assert corners(answer) == [[0, 0, 200, 100]]


def test_what_a_network_chose_itself_stands_and_what_fills_up_does_not() -> None:
    boxes = [[[1, 1, 9, 9], [1, 1, 9, 9], [0, 0, 5, 5], [0, 0, 0, 0]]]
    given_ = final(boxes, [[0.5, 0.9, 0, 0]], [[0, 0, 0, 0]])
    (answer,) = answers(asked(min_score=0), given_, LABELS)
    assert [round(box["score"], 6) for box in answer] == [0.9, 0.5]


def test_ten_thousand_boxes_are_bounded() -> None:
    random = np.random.default_rng(0)
    boxes = random.uniform([0, 0, 1, 1, 0.9, 0.9], [100, 100, 3, 3, 1, 1], (1, 10_000, 6))
    given_ = NetworkOutputs({"boxes": boxes.astype(np.float32)}, "rows_with_objectness", (100, 100))
    (answer,) = answers(asked(min_score=0, max_boxes=1000), given_, (), (1000, 1000))
    assert len(answer) == 1000
    assert answer[0]["score"] == pytest.approx((boxes[0, :, 4] * boxes[0, :, 5]).max())


BOX = (20, 20, 20, 20, 0.9, 1, 0, 0)


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_few_numbers_that_are_not_finite_are_dropped(number: int, bad: float) -> None:
    spoiled = tuple(bad if n == number else value for n, value in enumerate(BOX))
    good, other = answers(asked(), rows([BOX, spoiled, BOX], [BOX] * 3), LABELS)
    assert good == other
    assert len(good) == 1


def test_an_image_without_objects_stands_though_one_box_overflows() -> None:
    empty = [(20, 20, 20, 20, 0.1, 1, 0, 0)] * 9
    spoiled = (20, 20, np.inf, 20, 0.9, 1, 0, 0)
    assert answers(asked(), rows([*empty, spoiled]), LABELS) == [[]]
    (failed,) = answers(asked(), rows([*empty[:4], *[spoiled] * 6]), LABELS)
    assert "numbers that are not finite, in 60% of its boxes" in message(failed)


def test_long_labels_fail_the_images_that_do_not_fit_into_a_message() -> None:
    few, many = [BOX] + [(0,) * 8] * 599, [BOX] * 600
    labels = ["n" * 10_000] * 3
    found = answers(asked(overlap=1, max_boxes=1000), rows(many, few, many), labels)
    assert len(found[1]) == 1
    for failed in (found[0], found[2]):
        assert "labels of its boxes have 6,000,000 characters" in message(failed)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_image_of_which_nothing_is_finite_fails_alone(layout: str) -> None:
    arrays = raw_arrays(layout)
    for array in arrays.values():
        if array.dtype.kind == "f":
            array[1] = np.nan
    first, failed, last = answers(asked(VIEW), NetworkOutputs(arrays, layout, CANVAS))
    assert "unusable output: numbers that are not finite, in " in message(failed)
    assert first
    assert last


def test_logits_are_no_scores() -> None:
    good, failed = answers(asked(), rows([BOX], [(20, 20, 20, 20, 7.5, 2, 0, 0)]), LABELS)
    assert len(good) == 1
    assert "a box with the score 15. Scores of boxes are from 0 to 1" in message(failed)
    (rounded,) = answers(asked(), rows([(20, 20, 20, 20, 1.0004, 1, 0, 0)]), LABELS)
    assert rounded[0]["score"] == 1


def test_classes_without_a_label_fail() -> None:
    (failed,) = answers(asked(), rows([BOX]), LABELS[:2])
    assert message(failed).startswith("The model gave scores of 3 classes, and has 2 labels: give")
    boxes, scores = [[[1, 1, 9, 9]]] * 3, [[0.5]] * 3
    good, failed, nothing = answers(
        asked(), final(boxes, scores, [[1], [90], [np.nan]]), LABELS, (9, 9)
    )
    assert good[0]["label"] == "dog"
    assert message(failed).startswith("The model gave a box of class 90, and has 3 labels: give")
    assert "a box without a class" in message(nothing)


@pytest.mark.parametrize("layout", [None, "unheard_of"])
def test_a_model_without_a_layout_cannot_be_used(layout: str | None) -> None:
    arrays = {"boxes": np.zeros((1, 9, 9), np.float32)}
    with pytest.raises(ModelUnusable, match=f"layout is {layout}, and none of "):
        answers(asked(), NetworkOutputs(arrays, layout, (9, 9)))
    with pytest.raises(ModelUnusable, match="gives no boxes"):
        answers(asked(), NetworkOutputs({"scores": arrays["boxes"]}, layout, (9, 9)))


ODD = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-38, 0, -0.0, 0.5, 1, 60]


@given(st.sampled_from(LAYOUTS), st.integers(0, 2**32), st.floats(0, 1), st.sampled_from([0, 0.3]))
def test_whatever_a_network_gives_images_have_an_answer_or_a_failure(
    layout: str, seed: int, share: float, min_score: float
) -> None:
    random = np.random.default_rng(seed)
    arrays = {
        name: array.astype(np.float32)
        for name, array in raw_arrays(layout, seed=seed % 97, classes=2).items()
    }
    for array in arrays.values():
        spoiled = random.random(array.shape) < share**4
        array[spoiled] = random.choice(ODD, spoiled.sum())
    answers(asked(VIEW, min_score=min_score), NetworkOutputs(arrays, layout, CANVAS), LABELS)
