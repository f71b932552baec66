"""Raw arrays of detectors to candidates, against loops that take their time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.support.detectors import CANVAS, CELLS, Arrays, raw_arrays
from tests.support.layouts import layouts_by_run, outputs_of
from workers.inference.graphs.detectors import layouts_by_shape
from workers.inference.layouts import LAYOUTS, layout_of
from workers.inference.layouts.values import MAX_CANDIDATES

Box = tuple[int, list[float], float, int]  # image, corners, score, class
MIN_SCORE = 0.25


def around(cx: float, cy: float, w: float, h: float) -> list[float]:
    return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]


def slow_yolox(arrays: Arrays) -> Iterator[Box]:
    for image, rows in enumerate(arrays["boxes"].tolist()):
        for (column, row, stride), (x, y, w, h, objectness, *classes) in zip(
            CELLS, rows, strict=True
        ):
            centre = (column + x) * stride, (row + y) * stride
            size = math.exp(w) * stride, math.exp(h) * stride
            for number, score in enumerate(classes):
                yield image, around(*centre, *size), objectness * score, number


def slow_rows_with_objectness(arrays: Arrays) -> Iterator[Box]:
    for image, rows in enumerate(arrays["boxes"].tolist()):
        for x, y, w, h, objectness, *classes in rows:
            for number, score in enumerate(classes):
                yield image, around(x, y, w, h), objectness * score, number


def slow_yolov8_rows(arrays: Arrays) -> Iterator[Box]:
    for image, rows in enumerate(arrays["boxes"].tolist()):
        for x, y, w, h, *classes in rows:
            for number, score in enumerate(classes):
                yield image, around(x, y, w, h), score, number


def slow_yolov8(arrays: Arrays) -> Iterator[Box]:
    for image, columns in enumerate(arrays["boxes"].tolist()):
        for x, y, w, h, *classes in zip(*columns, strict=True):
            for number, score in enumerate(classes):
                yield image, around(x, y, w, h), score, number


def slow_boxes_and_scores(arrays: Arrays) -> Iterator[Box]:
    for image, (boxes, scores) in enumerate(
        zip(arrays["boxes"].tolist(), arrays["box_scores"].tolist(), strict=True)
    ):
        for corners, classes in zip(boxes, scores, strict=True):
            for number, score in enumerate(classes):
                yield image, corners, score, number


def slow_normalised_boxes_and_scores(arrays: Arrays) -> Iterator[Box]:
    width, height = CANVAS
    for image, (x1, y1, x2, y2), score, number in slow_boxes_and_scores(arrays):
        yield image, [x1 * width, y1 * height, x2 * width, y2 * height], score, number


def slow_final_boxes(arrays: Arrays) -> Iterator[Box]:
    rows = (arrays[name].tolist() for name in ("boxes", "box_scores", "box_labels"))
    for image, (boxes, scores, labels) in enumerate(zip(*rows, strict=True)):
        for corners, score, label in zip(boxes, scores, labels, strict=True):
            yield image, corners, score, label


SLOW: dict[str, Callable[[Arrays], Iterator[Box]]] = {
    "boxes_and_scores": slow_boxes_and_scores,
    "final_boxes": slow_final_boxes,
    "normalised_boxes_and_scores": slow_normalised_boxes_and_scores,
    "rows_with_objectness": slow_rows_with_objectness,
    "yolov8": slow_yolov8,
    "yolov8_rows": slow_yolov8_rows,
    "yolox": slow_yolox,
}


def test_every_layout_is_here() -> None:
    assert tuple(SLOW) == LAYOUTS


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("classes", [1, 7])
def test_candidates_are_those_of_a_slow_loop(name: str, classes: int) -> None:
    arrays = raw_arrays(name, classes=classes)
    expected = [box for box in SLOW[name](arrays) if box[2] >= MIN_SCORE]
    found = layout_of(name).candidates(arrays, CANVAS, MIN_SCORE)
    assert len(expected) > 20
    assert found.images.tolist() == [image for image, *_ in expected]
    assert found.classes.tolist() == [number for *_, number in expected]
    np.testing.assert_allclose(found.boxes, [corners for _, corners, *_ in expected], atol=1e-3)
    np.testing.assert_allclose(found.scores, [score for *_, score, _ in expected], atol=1e-6)
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert layout_of(name).classes(arrays) == (None if name == "final_boxes" else classes)


@pytest.mark.parametrize("name", sorted({*LAYOUTS} - {"final_boxes"}))
def test_the_best_of_too_many_candidates_are_left(name: str) -> None:
    arrays = raw_arrays(name, images=2, classes=40)
    expected = list(SLOW[name](arrays))
    assert len(expected) > 2 * MAX_CANDIDATES
    found = layout_of(name).candidates(arrays, CANVAS, 0)
    for image in range(2):
        known = sorted((score for n, _, score, _ in expected if n == image), reverse=True)
        scores = -np.sort(-found.scores[found.images == image])
        np.testing.assert_allclose(scores, known[:MAX_CANDIDATES], atol=1e-6)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_share_of_spoiled_boxes_is_known(name: str, bad: float) -> None:
    arrays = raw_arrays(name)
    assert layout_of(name).spoiled(arrays).tolist() == [0, 0, 0]
    boxes = arrays["boxes"].transpose(0, 2, 1) if name == "yolov8" else arrays["boxes"]
    boxes[1, : len(CELLS) // 2, 2] = bad
    boxes[2] = bad
    assert layout_of(name).spoiled(arrays).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("name", LAYOUTS)
def test_nothing_is_found_where_no_score_is_high_enough(name: str) -> None:
    arrays = raw_arrays(name)
    found = layout_of(name).candidates(arrays, CANVAS, 1.0)
    assert [len(each) for each in (found.images, found.boxes, found.scores)] == [0, 0, 0]
    assert found.boxes.shape == (0, 4)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_run_tells_the_layout_of_a_graph(name: str) -> None:
    arrays = raw_arrays(name)
    assert layouts_by_run(list(arrays.values()), CANVAS) == [(name, list(arrays))]
    any_ = [
        tuple(None if side == len(CELLS) else side for side in array.shape[1:])
        for array in arrays.values()
    ]
    assert name in [known.name for known in layouts_by_shape(outputs_of(any_), CANVAS, None)]


@pytest.mark.parametrize("classes", [1, 2, 80])
def test_three_boxes_a_cell_have_an_objectness(classes: int) -> None:
    arrays = raw_arrays("rows_with_objectness", classes=classes, each=3)
    found = layouts_by_run(list(arrays.values()), CANVAS)
    assert found == [("rows_with_objectness", ["boxes"])]


def test_outputs_may_come_in_any_order() -> None:
    arrays = raw_arrays("boxes_and_scores")
    outputs = [arrays["box_scores"], arrays["boxes"][:, :, np.newaxis]]
    assert layouts_by_run(outputs, CANVAS) == [("boxes_and_scores", ["box_scores", "boxes"])]


@pytest.mark.parametrize(
    "shapes",
    [
        [(1000,)],
        [(3, 64, 96)],
        [(126, 85), (4,)],
        [(50, 85)],
        [(126, 4)],
        [(126, 4), (50, 7)],
        [(126, 4), (126,), (50,)],
        [(), ()],
        [],
    ],
)
def test_what_is_no_detector_has_no_layout(shapes: list[tuple[int, ...]]) -> None:
    assert layouts_by_shape(outputs_of(shapes), CANVAS, None) == []


@pytest.mark.parametrize("name", LAYOUTS)
def test_logits_and_what_is_not_finite_fit_no_layout(name: str) -> None:
    for spoiled in (np.nan, np.inf, 7.5):
        arrays = raw_arrays(name)
        scores = arrays.get("box_scores", arrays["boxes"])
        if name == "yolov8":
            scores[:, 4:, 5] = spoiled
        else:
            scores[:, 5, ...] = spoiled
        assert layouts_by_run(list(arrays.values()), CANVAS) == []
