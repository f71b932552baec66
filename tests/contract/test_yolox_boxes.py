"""Objects of real photos, against a plain script that shares no code with the product."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from shared.analyses.boxes import Boxes
from shared.views.letterbox import Letterbox
from tests.support.layouts import layouts_by_run
from workers.inference.heads import NetworkOutputs, head_of

DATA = Path(__file__).parents[3] / "shared" / "data"
PHOTOS = sorted((DATA / "coco-val" / "images").glob("*"))[:12]
PIXELS = 416
# Low enough that many boxes have two classes.
MIN_SCORE, OVERLAP, MOST = 0.05, 0.5, 300
TOLERANCE = 1e-3

pytestmark = pytest.mark.skipif(not PHOTOS, reason="../shared/data with weights and photos")


@pytest.fixture(scope="module")
def session() -> Any:
    path = DATA / "weights" / "yolox_nano_dynbatch.onnx"
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def letterboxed(path: Path) -> tuple[Any, tuple[int, int]]:
    """The canvas, uint8 RGB, and the photo's width and height."""
    photo = Image.open(path).convert("RGB")
    scale = min(PIXELS / photo.width, PIXELS / photo.height)
    size = max(1, int(photo.width * scale)), max(1, int(photo.height * scale))
    canvas = np.full((PIXELS, PIXELS, 3), 114, np.uint8)
    canvas[: size[1], : size[0]] = np.asarray(photo.resize(size, Image.Resampling.BILINEAR))
    return canvas, photo.size


def run(session: Any, canvases: list[Any]) -> Any:
    bgr = np.stack(canvases)[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
    return session.run(None, {"images": np.ascontiguousarray(bgr)})[0]


def script(rows: Any, width: int, height: int) -> list[tuple[int, float, list[float]]]:
    """Class, score and corners of the objects of one photo, the best first."""
    found, cell = [], 0
    for stride in (8, 16, 32):
        for row in range(PIXELS // stride):
            for column in range(PIXELS // stride):
                x, y, w, h, objectness, *classes = map(float, rows[cell])
                cell += 1
                scores = [(objectness * each, number) for number, each in enumerate(classes)]
                if max(scores)[0] < MIN_SCORE:
                    continue
                x, y = (column + x) * stride, (row + y) * stride
                w, h = math.exp(w) * stride, math.exp(h) * stride
                corners = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
                found += [(n, score, corners) for score, n in scores if score >= MIN_SCORE]
    found.sort(key=lambda each: -each[1])
    kept: list[tuple[int, float, list[float]]] = []
    for number, score, corners in found:
        if all(number != other or share(corners, best) <= OVERLAP for other, _, best in kept):
            kept.append((number, score, corners))
    scale = min(PIXELS / width, PIXELS / height)
    across, down = width / int(width * scale), height / int(height * scale)
    return [
        (
            number,
            score,
            [
                min(max(x1 * across, 0), width),
                min(max(y1 * down, 0), height),
                min(max(x2 * across, 0), width),
                min(max(y2 * down, 0), height),
            ],
        )
        for number, score, (x1, y1, x2, y2) in kept[:MOST]
    ]


def share(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both)


def test_objects_are_those_of_a_plain_script(session: Any) -> None:
    loaded = [letterboxed(path) for path in PHOTOS]
    canvases, sizes = [canvas for canvas, _ in loaded], [size for _, size in loaded]
    names = (DATA / "coco-val" / "coco.names").read_text().split("\n")[:80]
    view = Letterbox(width=PIXELS, height=PIXELS, align="top_left")
    asked = Boxes(model="m", view=view, min_score=MIN_SCORE, overlap=OVERLAP, max_boxes=MOST)
    given = run(session, canvases)
    answered = head_of("boxes").answers(
        asked, NetworkOutputs({"boxes": given}, "yolox", view.canvas), names, sizes
    )
    assert answered.failures == {}
    expected = [script(rows, *size) for rows, size in zip(given, sizes, strict=True)]
    assert sum(map(len, expected)) > len(PHOTOS)
    for found, known in zip(answered.values.to_pylist(), expected, strict=True):
        assert [box["label"] for box in found] == [names[number] for number, *_ in known]
        numbers = [[box[name] for name in ("score", "x1", "y1", "x2", "y2")] for box in found]
        want = [[score, *corners] for _, score, corners in known]
        np.testing.assert_allclose(numbers, want, atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["photos", "noise", "gray"])
def test_a_run_over_any_images_tells_its_layout(session: Any, kind: str) -> None:
    random = np.random.default_rng(0)
    canvases = {
        "photos": [letterboxed(path)[0] for path in PHOTOS[:2]],
        "noise": list(random.integers(0, 256, (2, PIXELS, PIXELS, 3), np.uint8)),
        "gray": [np.full((PIXELS, PIXELS, 3), 128, np.uint8)],
    }[kind]
    given, canvas = run(session, canvases), (PIXELS, PIXELS)
    assert layouts_by_run([given], canvas) == [("yolox", ["boxes"])]
    rows = decoded(given)
    assert layouts_by_run([rows], canvas) == [("rows_with_objectness", ["boxes"])]
    alone = np.concatenate([rows[..., :4], rows[..., 4:5] * rows[..., 5:]], axis=2)
    assert layouts_by_run([alone], canvas) == [("yolov8_rows", ["boxes"])]
    assert layouts_by_run([alone.transpose(0, 2, 1)], canvas) == [("yolov8", ["boxes"])]


def decoded(rows: Any) -> Any:
    """The same network as others export it, with the cells inside."""
    sides = [PIXELS // stride for stride in (8, 16, 32)]
    corners = np.concatenate([np.indices((side, side))[::-1].reshape(2, -1).T for side in sides])
    strides = np.repeat([8, 16, 32], [side * side for side in sides])[:, np.newaxis]
    centres, sizes = (rows[..., :2] + corners) * strides, np.exp(rows[..., 2:4]) * strides
    return np.concatenate([centres, sizes, rows[..., 4:]], axis=2).astype(np.float32)
