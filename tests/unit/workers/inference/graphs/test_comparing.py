"""A graph is kept where its scores agree, too, whatever numbers are beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from shared.errors import PermanentError
from tests.support.detectors import raw_arrays
from tests.support.graphs import HEIGHT, WIDTH
from workers.inference.graph_writer import GraphWriter
from workers.inference.graphs.comparing import TOLERANCE, worst_difference

ROWS = ["rows_with_objectness", "yolov8", "yolov8_rows", "yolox"]


@pytest.mark.parametrize("layout", ROWS)
def test_scores_beside_coordinates_are_compared(layout: str) -> None:
    expected = raw_arrays(layout)["boxes"]
    columns = np.moveaxis(expected, 1 if layout == "yolov8" else 2, 0)
    found = expected.copy()
    np.moveaxis(found, 1 if layout == "yolov8" else 2, 0)[4:] = columns[4:] * np.float32(0.4)
    assert worst_difference(found, expected) > 100 * TOLERANCE
    noise = np.random.default_rng(0).uniform(-1e-6, 1e-6, expected.shape)
    rounded = (expected * (1 + noise)).astype(np.float32)
    assert worst_difference(rounded, expected) < TOLERANCE


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_never_agrees(number: float) -> None:
    expected = np.ones((2, 3, 4), np.float32)
    found = expected.copy()
    found[1, 2, 3] = number
    assert worst_difference(found, expected) == np.inf
    assert worst_difference(expected[:1], expected) == np.inf


@pytest.mark.parametrize("sides", [(5,), (5, 4)])
def test_no_difference(sides: tuple[int, ...]) -> None:
    expected = np.zeros((2, *sides), np.float32)
    assert worst_difference(expected.copy(), expected) == 0


@pytest.mark.parametrize("depends", [True, False])
def test_a_writer_keeps_a_graph_whose_scores_are_an_images_own(
    depends: bool, tmp_path: Path
) -> None:
    writer = GraphWriter((WIDTH, HEIGHT), (0, 0, 0), (1, 1, 1))
    means = writer.add("GlobalAveragePool", [writer.pixels])
    if depends:
        means = writer.add("Sub", [means, writer.add("ReduceMean", [means], keepdims=1)])
    rows = writer.add("Reshape", [means, writer.constant([-1, 1, 3], np.int64)])
    far = writer.add("Add", [writer.add("Mul", [rows, writer.constant(0.0)]), writer.constant(640)])
    boxes = writer.add("Concat", [far, rows], axis=2)
    path = tmp_path / "model.onnx"
    if depends:
        with pytest.raises(PermanentError, match="boxes of an image depend on the batch"):
            writer.write(path, "0" * 64, {"boxes": (boxes, (1, 6))})
        assert list(tmp_path.iterdir()) == []
    else:
        assert writer.write(path, "0" * 64, {"boxes": (boxes, (1, 6))}) == {"boxes": 6}
        assert onnxruntime.InferenceSession(path).get_inputs()[0].shape[0] == "batch"
