"""A user's own detector: added, used by a job, exported as COCO, listed and removed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.support import graphs
from tests.support.stack import Stack, small_images

# Width and height: images of 96x72 fit it at half their size.
WIDTH, HEIGHT = 48, 36
# Corners on it: a cat everywhere, and a dog in the middle.
BOXES = [[0, 0, WIDTH, HEIGHT], [12, 9, 36, 27]]
IMAGES = 3


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    """A graph that finds a cat and a dog in every image, of which the cat is the surer."""
    constants = {
        "zero": np.float32(0),
        "corners": np.array(BOXES, np.float32),
        "likely": np.array([0.9, 0.7], np.float32),
        "numbers": np.array([0, 1]),
    }
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["corners", "nothing"], ["boxes"]),
        helper.make_node("Add", ["likely", "nothing"], ["sure"]),
        helper.make_node("Identity", ["numbers"], ["labels"]),
    ]
    outputs = [
        ("boxes", TensorProto.FLOAT, [2, 4]),
        ("labels", TensorProto.INT64, [2]),
        ("sure", TensorProto.FLOAT, [2]),
    ]
    graph = graphs.model(nodes, outputs, constants, (1, 3, HEIGHT, WIDTH))
    return graphs.save(graph, tmp_path, "pets.onnx")


def test_a_detector_of_ones_own_is_added_used_and_removed(
    stack: Stack, detector: Path, tmp_path: Path
) -> None:
    (labels := tmp_path / "labels.txt").write_text("cat\nдог\n")
    (pipeline := tmp_path / "pets.yaml").write_text(
        stack.run("models", "add", "pets", str(detector), "--labels", str(labels)).stdout
    )
    stack.put("pets", small_images(IMAGES, prefix="in/"))
    job = stack.enqueue("s3://pets/in/", "--wait", pipeline=str(pipeline))
    rows = stack.rows(job)
    assert len(rows) == IMAGES
    for row in rows:
        assert [box["label"] for box in row["objects"]] == ["cat", "дог"]
        corners = [[box[side] for side in ("x1", "y1", "x2", "y2")] for box in row["objects"]]
        assert corners == [[2 * side for side in sides] for sides in BOXES]

    stack.run("results", job, "--format", "coco", "-o", str(coco := tmp_path / "boxes.json"))
    found = json.loads(coco.read_text())
    assert (len(found["images"]), len(found["annotations"])) == (IMAGES, 2 * IMAGES)
    assert {category["name"] for category in found["categories"]} == {"cat", "дог"}

    (listed,) = (m for m in stack.json("models", "list") if m["name"] == "pets")
    assert (listed["format"], listed["is_added"]) == ("onnx", True)
    stack.run("models", "rm", "pets", "--yes")
    assert "pets" not in {model["name"] for model in stack.json("models", "list")}
