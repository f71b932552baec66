"""Arrays as detectors give them, made up so that what they find is known."""

from __future__ import annotations

from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]

CANVAS = (64, 96)
STRIDES = (8, 16, 32)
CELLS = [
    (column, row, stride)
    for stride in STRIDES
    for row in range(CANVAS[1] // stride)
    for column in range(CANVAS[0] // stride)
]


def _background(images: int, boxes: int, classes: int, random: np.random.Generator) -> Any:
    """Low scores, as most places have them: objectness (images, boxes), classes beside it."""
    objectness = random.uniform(0, 0.001, (images, boxes)) ** 2
    return objectness, random.uniform(0.02, 0.4, (images, boxes, classes))


def _objects(objectness: Any, of_classes: Any, random: np.random.Generator) -> None:
    """Some places have an object."""
    chosen = random.random(objectness.shape) < 0.1
    objectness[chosen] = random.uniform(0.1, 1, chosen.sum())
    of_classes[chosen, random.integers(0, of_classes.shape[2], chosen.sum())] = 0.9


def raw_arrays(
    layout: str, images: int = 3, classes: int = 7, seed: int = 0, each: int = 1
) -> Arrays:
    """What a network of that layout gives for images of ``CANVAS``; ``each``: boxes a cell."""
    random = np.random.default_rng(seed)
    width, height = CANVAS
    cells = np.array(CELLS * each, np.float64)
    corners, stride = cells[:, :2], cells[:, 2:]
    boxes = len(cells)
    objectness, of_classes = _background(images, boxes, classes, random)
    _objects(objectness, of_classes, random)
    offsets = random.normal(0.5, 0.6, (images, boxes, 2))
    logs = random.normal(0, 0.8, (images, boxes, 2))
    centres, sizes = (corners + offsets) * stride, np.exp(logs) * stride
    sides = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=2)
    of_both = objectness[..., None] * of_classes
    known = {
        "yolox": {"boxes": [offsets, logs, objectness[..., None], of_classes]},
        "rows_with_objectness": {"boxes": [centres, sizes, objectness[..., None], of_classes]},
        "yolov8_rows": {"boxes": [centres, sizes, of_both]},
        "yolov8": {"boxes": [centres, sizes, of_both]},
        "boxes_and_scores": {"boxes": [sides], "box_scores": [of_both]},
        "normalised_boxes_and_scores": {
            "boxes": [sides / [width, height, width, height]],
            "box_scores": [of_both],
        },
        "final_boxes": {
            "boxes": [sides],
            "box_scores": [of_both.max(axis=2)[..., None]],
            "box_labels": [of_both.argmax(axis=2)[..., None]],
        },
    }[layout]
    arrays = {name: np.concatenate(parts, axis=2) for name, parts in known.items()}
    if layout == "yolov8":
        arrays["boxes"] = np.ascontiguousarray(arrays["boxes"].transpose(0, 2, 1))
    if layout == "final_boxes":
        arrays = {name: a if name == "boxes" else a[..., 0] for name, a in arrays.items()}
    return {
        name: array if array.dtype.kind == "i" else array.astype(np.float32)
        for name, array in arrays.items()
    }
