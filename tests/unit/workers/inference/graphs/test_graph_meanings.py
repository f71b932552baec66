"""What a run shows of a user's graph: a background, labels from 1, and probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from shared.catalog.exports import ExportedModel, ExportRequest
from shared.errors import HeadraceError
from tests.support.graphs import (
    CLASSES,
    FEATURES,
    HEIGHT,
    WIDTH,
    choosing_detector,
    model,
    save,
    scoring_detector,
    trunk,
)
from workers.inference.export import export

IMAGES = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH, 3), np.uint8)


def exported(own: onnx.ModelProto, folder: Path, **asked: Any) -> ExportedModel:
    asked = {"mean": (0, 0, 0), "std": (1, 1, 1)} | asked
    return export(
        ExportRequest(
            sha256="a" * 64, weights=save(own, folder), output=folder / "model.onnx", **asked
        )
    )


def outputs(path: Path, given: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: given}), strict=True))


def both(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What our graph gives for the images, and what the user's own does."""
    scaled = (IMAGES / np.float32(255)).transpose(0, 3, 1, 2)
    return outputs(folder / "model.onnx", IMAGES), outputs(folder / "own.onnx", scaled)


@pytest.mark.parametrize(
    ("background", "labels", "names_it"),
    [(0, None, False), (0, 4, False), (0, 5, True), (4, None, False), (4, 4, False)],
)
def test_the_background_is_no_class(
    background: int, labels: int | None, names_it: bool, tmp_path: Path
) -> None:
    found = exported(scoring_detector(background), tmp_path, labels=labels)
    assert (found.layout, found.classes) == ("boxes_and_scores", CLASSES - 1)
    assert found.names_background == names_it
    assert found.outputs["box_scores"] == 30 * (CLASSES - 1)
    ours, theirs = both(tmp_path)
    known = np.delete(theirs["sure"], background, axis=2)
    assert np.allclose(ours["box_scores"], known, atol=1e-5)
    assert any("of the background" in sentence for sentence in found.assumed)


@pytest.mark.parametrize(("background", "labels"), [(0, 3), (0, 6), (4, 3), (4, 5), (None, 4)])
def test_labels_are_as_many_as_the_classes(
    background: int | None, labels: int, tmp_path: Path
) -> None:
    with pytest.raises(HeadraceError, match=f"there are {labels} labels"):
        exported(scoring_detector(background), tmp_path, labels=labels)


def test_scores_of_a_sigmoid_have_no_background(tmp_path: Path) -> None:
    found = exported(scoring_detector(None), tmp_path, labels=CLASSES)
    assert (found.classes, found.names_background) == (CLASSES, False)
    assert any("nothing in the file tells y before x" in said for said in found.assumed)


@pytest.mark.parametrize(
    ("label", "labels_last", "labels", "number"),
    [
        (1, False, None, 0),  # in torchvision's order
        (5, False, 5, 4),
        (0, False, 5, 0),
        (5, True, 5, 4),
        (4, True, 5, 4),
        (0, True, None, 0),
    ],
)
def test_labels_count_from_zero_in_our_graph(
    label: int, labels_last: bool, labels: int | None, number: int, tmp_path: Path
) -> None:
    own = choosing_detector(label, labels_last=labels_last)
    found = exported(own, tmp_path, labels=labels)
    assert found.layout == "final_boxes"
    assert f"Its labels begin with {label - number}" in " ".join(found.assumed)
    ours = outputs(tmp_path / "model.onnx", IMAGES[:1])
    of_boxes = ours["box_labels"][ours["box_scores"] > 0]
    assert len(of_boxes)
    assert set(of_boxes.tolist()) == {number}


@pytest.mark.parametrize(("label", "labels_last"), [(6, False), (7, True), (90, False)])
def test_a_label_without_a_name_is_refused(label: int, labels_last: bool, tmp_path: Path) -> None:
    own = choosing_detector(label, labels_last=labels_last)
    with pytest.raises(HeadraceError, match=f"label {label}, and there are labels for 5"):
        exported(own, tmp_path, labels=5)


@pytest.mark.parametrize("labels_last", [False, True])
def test_a_softmax_shows_how_many_classes_there_are(labels_last: bool, tmp_path: Path) -> None:
    """Of five classes and the background: a file may name that, too."""
    own = choosing_detector(2, labels_last=labels_last)
    own.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 6), np.float32), "logits"))
    own.graph.node.append(helper.make_node("Softmax", ["logits"], ["shares"]))
    for labels, line in ((5, 1), (6, 2)):
        found = exported(own, tmp_path, labels=labels)
        ours = outputs(tmp_path / "model.onnx", IMAGES[:1])
        assert ours["box_labels"].max() + found.names_background == line


def test_the_oldest_operators_that_are_read(tmp_path: Path) -> None:
    """Boxes are filled up by a Slice whose bounds are inputs."""
    assert exported(choosing_detector(1, opset=10), tmp_path).layout == "final_boxes"


def classifier_ending(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """``nodes``: from ``row`` (images, FEATURES) to ``y``."""
    first, constants = trunk()
    constants |= {"hundred": np.float32(100), "none": np.float32(0)}
    flat = helper.make_node("Flatten", ["pooled"], ["row"])
    shape = ("y", TensorProto.FLOAT, ["b", FEATURES])
    return model([*first, flat, *nodes], [shape], constants, opset=11)


SOFTMAX = [
    helper.make_node("Exp", ["row"], ["grown"]),
    helper.make_node("ReduceSum", ["grown"], ["sum"], axes=[1], keepdims=1),
    helper.make_node("Div", ["grown", "sum"], ["y"]),
]
# Most of its shares are zero in float32.
SURE = [helper.make_node("Mul", ["row", "hundred"], ["more"]), *SOFTMAX[:0]]
SURE += [
    helper.make_node("Softmax", ["more"], ["shares"], axis=1),
    helper.make_node("Add", ["shares", "none"], ["y"]),
]


@pytest.mark.parametrize("nodes", [SOFTMAX, SURE], ids=["written out", "sure"])
def test_a_softmax_of_probabilities_gives_them_again(
    nodes: list[onnx.NodeProto], tmp_path: Path
) -> None:
    found = exported(classifier_ending(*nodes), tmp_path)
    assert "softmax" in " ".join(found.assumed)
    ours, theirs = both(tmp_path)
    grown = np.exp(ours["scores"] - ours["scores"].max(axis=1, keepdims=True))
    assert np.isfinite(ours["scores"]).all()
    assert np.allclose(grown / grown.sum(axis=1, keepdims=True), theirs["y"], atol=1e-5)


def test_scores_of_a_sigmoid_come_with_a_word(tmp_path: Path) -> None:
    found = exported(classifier_ending(helper.make_node("Sigmoid", ["row"], ["y"])), tmp_path)
    assert "`softmax: false`" in " ".join(found.assumed)
    ours, theirs = both(tmp_path)
    assert np.allclose(ours["scores"], theirs["y"], atol=1e-5)
