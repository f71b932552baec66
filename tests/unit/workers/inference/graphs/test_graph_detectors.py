"""Detectors among users' graphs, with layouts of the tests' own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from shared.analyses.boxes import MAX_BOXES
from shared.catalog.exports import ExportedModel, ExportRequest
from shared.errors import HeadraceError
from shared.views.letterbox import Letterbox
from shared.views.stretch import Stretch
from tests.support.graphs import (
    CLASSES,
    HEIGHT,
    WIDTH,
    choosing_detector,
    classifier,
    detector,
    save,
)
from workers.inference.export import export
from workers.inference.graphs import detectors

Shapes = Sequence[Sequence[int | None]]


class Rows:
    """Takes one array of nine numbers for each box, where they look as ``fitting`` says."""

    is_final = False

    def __init__(self, fitting: bool = True) -> None:
        self._fitting = fitting

    def names(self, shapes: Shapes, canvas: tuple[int, int]) -> list[str] | None:
        return ["boxes"] if len(shapes) == 1 and list(shapes[0][1:]) == [9] else None

    def fits(self, arrays: Mapping[str, np.ndarray], canvas: tuple[int, int]) -> bool:
        assert arrays["boxes"].shape == (3, 7, 9)
        return self._fitting

    def classes(self, arrays: Mapping[str, np.ndarray]) -> int | None:
        return 4


class Chosen(Rows):
    """Takes boxes, scores and labels of as many as an image has."""

    is_final = True

    def names(self, shapes: Shapes, canvas: tuple[int, int]) -> list[str] | None:
        is_so = [list(shape) for shape in shapes] == [[None, 4], [None], [None]]
        return ["boxes", "box_scores", "box_labels"] if is_so else None

    def fits(self, arrays: Mapping[str, np.ndarray], canvas: tuple[int, int]) -> bool:
        return arrays["boxes"].shape == (3, MAX_BOXES, 4)

    def classes(self, arrays: Mapping[str, np.ndarray]) -> int | None:
        return None


@pytest.fixture
def layouts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Rows]:
    """By their names; what a test puts here is known."""
    known: dict[str, Rows] = {}
    monkeypatch.setattr(detectors, "LAYOUTS", known)
    monkeypatch.setattr(detectors, "layout_of", known.__getitem__)
    monkeypatch.setattr("workers.inference.export.LAYOUTS", known)
    return known


def exported(own: onnx.ModelProto, folder: Path, **asked: object) -> ExportedModel:
    request = ExportRequest(
        **{"weights": save(own, folder), "sha256": "a" * 64, "output": folder / "model.onnx"}
        | asked
    )
    return export(request)


def ours(folder: Path, count: int) -> list[np.ndarray]:
    images = np.random.default_rng(count).integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)
    return list(onnxruntime.InferenceSession(folder / "model.onnx").run(None, {"images": images}))


def test_a_layout_that_shapes_and_values_have(layouts: dict[str, Rows], tmp_path: Path) -> None:
    layouts.update(rows=Rows(), other=Rows(fitting=False), chosen=Chosen())
    found = exported(detector(), tmp_path)
    assert (found.layout, found.outputs, found.classes) == ("rows", {"boxes": 63}, 4)
    assert found.view == Letterbox(width=WIDTH, height=HEIGHT)
    assert (found.mean, found.std, found.channels) == ((0, 0, 0), (1, 1, 1), "rgb")
    assert ours(tmp_path, 5)[0].shape == (5, 7, 9)


def test_yolox_has_pixels_as_they_are(layouts: dict[str, Rows], tmp_path: Path) -> None:
    layouts.update(yolox=Rows())
    found = exported(detector(), tmp_path)
    assert found.view == Letterbox(width=WIDTH, height=HEIGHT, align="top_left")
    assert (found.std, found.channels) == ((1 / 255,) * 3, "bgr")


def test_an_ssd_has_stretched_images(layouts: dict[str, Rows], tmp_path: Path) -> None:
    layouts.update(boxes_and_scores=Rows())
    assert exported(detector(), tmp_path).view == Stretch(width=WIDTH, height=HEIGHT)


def test_two_layouts_or_none_are_refused(layouts: dict[str, Rows], tmp_path: Path) -> None:
    layouts.update(one=Rows(), two=Rows())
    with pytest.raises(HeadraceError, match=r"shapes \(7, 9\), may be those of one and two"):
        exported(detector(), tmp_path)
    assert exported(detector(), tmp_path, layout="two").layout == "two"
    with pytest.raises(HeadraceError, match=r"are not those of a classifier or detector that is"):
        exported(detector(sides=8), tmp_path)
    with pytest.raises(HeadraceError, match="are not those of the layout one"):
        exported(classifier(), tmp_path, layout="one")


def test_a_network_may_need_more_pixels_than_a_classifier_gets(
    layouts: dict[str, Rows], tmp_path: Path
) -> None:
    layouts.update(rows=Rows())
    own = detector()
    own.graph.node.insert(0, helper.make_node("Reshape", ["x", "640"], ["large"]))
    own.graph.node[1].input[0] = "large"
    own.graph.initializer.append(numpy_helper.from_array(np.array([1, 3, 640, 640]), "640"))
    for side, name in zip(own.graph.input[0].type.tensor_type.shape.dim[2:], "hw", strict=True):
        side.dim_param = name
    assert exported(own, tmp_path).view == Letterbox(width=640, height=640)


def test_scores_that_depend_on_the_batch_leave_single_images(
    layouts: dict[str, Rows], tmp_path: Path
) -> None:
    """The coordinates beside them are right, and a thousand times larger."""
    layouts.update(rows=Rows())
    own = detector()
    own.graph.node[-1].output[0] = "rows_9"
    for name, of_corners, of_scores in (("far", 1000, 1), ("only_scores", 0, 1)):
        columns = np.array([of_corners] * 4 + [of_scores] * 5, np.float32)
        own.graph.initializer.append(numpy_helper.from_array(columns, name))
    own.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["rows_9"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["rows_9", "mean"], ["less"]),
            helper.make_node("Mul", ["less", "only_scores"], ["wrong"]),
            helper.make_node("Mul", ["rows_9", "far"], ["right"]),
            helper.make_node("Add", ["right", "wrong"], ["y"]),
        ]
    )
    found = exported(own, tmp_path)
    assert any("one image at a time" in sentence for sentence in found.assumed)


def test_labels_are_as_many_as_a_detectors_classes(
    layouts: dict[str, Rows], tmp_path: Path
) -> None:
    layouts.update(rows=Rows(), chosen=Chosen())
    with pytest.raises(HeadraceError, match="tells 4 classes apart, and there are 5 labels"):
        exported(detector(), tmp_path, labels=CLASSES)
    assert exported(choosing_detector(), tmp_path, labels=CLASSES).classes is None


def test_boxes_that_a_graph_chose_are_filled_up(layouts: dict[str, Rows], tmp_path: Path) -> None:
    layouts.update(chosen=Chosen())
    found = exported(choosing_detector(), tmp_path)
    assert found.outputs == {
        "boxes": 4 * MAX_BOXES,
        "box_scores": MAX_BOXES,
        "box_labels": MAX_BOXES,
    }
    boxes, scores, labels = ours(tmp_path, 1)
    assert boxes.shape == (1, MAX_BOXES, 4)
    assert scores.shape == labels.shape == (1, MAX_BOXES)
    count = int((scores > 0).sum())
    assert 0 < count < 7
    assert (boxes[0, :count] != 0).all()
    assert not boxes[0, count:].any()
    assert np.array_equal(labels[0], np.trunc(boxes[0, :, 0]))
