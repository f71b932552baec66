"""The end of an SSD: what its heads give, as boxes in pixels and scores of classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.fields import MAX_SIDE_PIXELS
from shared.placement import Size
from workers.inference.formats.tensorflow_ssd.frozen_graph import Node
from workers.inference.formats.tensorflow_ssd.layers import Converter
from workers.inference.formats.tensorflow_ssd.wire import Malformed
from workers.inference.graph_writer import GraphWriter

_POSTPROCESS = "TFLite_Detection_PostProcess"


@dataclass(frozen=True, slots=True)
class Detector:
    """``canvas``: width and height of its images. ``postprocess``: the node whose inputs are the
    boxes' encodings, the scores with the background first, and the anchors. ``classes``: how many
    there are, without the background."""

    canvas: Size
    postprocess: Node
    classes: int


def find_detector(nodes: dict[str, Node]) -> Detector:
    """The detector that a frozen graph is. Raises Malformed for any other network."""
    inputs = [node for node in nodes.values() if node.op == "Placeholder"]
    ends = [node for node in nodes.values() if node.op == _POSTPROCESS]
    if len(inputs) != 1 or len(ends) != 1 or len(ends[0].inputs) != 3:
        raise Malformed(f"it is no SSD with one input and one {_POSTPROCESS}")
    shape = inputs[0].shape
    if len(shape) != 4 or shape[3] != 3 or not all(0 < s <= MAX_SIDE_PIXELS for s in shape[1:3]):
        raise Malformed(f"its input of shape {list(shape)} is no image of a known size")
    classes = int(ends[0].number("num_classes"))
    if classes < 1:
        raise Malformed("it has no classes")
    return Detector((shape[2], shape[1]), ends[0], classes)


def write_detector(
    detector: Detector, nodes: dict[str, Node], writer: GraphWriter
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Write all of it. Returns its outputs by name: the array, and its shape for one image."""
    converter = Converter(nodes, writer)
    encodings, scores, anchors = detector.postprocess.inputs
    places = converter.constant(anchors)
    if places.ndim != 2 or places.shape[1] != 4 or places.dtype != np.float32:
        raise Malformed(f"its anchors have the shape {list(places.shape)}")
    boxes = _boxes(detector, converter.write(encodings), places, writer)
    background = 1
    known = writer.slice(converter.write(scores), background, background + detector.classes, axis=2)
    rows = len(places)
    return {"boxes": (boxes, (rows, 4)), "box_scores": (known, (rows, detector.classes))}


def _boxes(
    detector: Detector, encodings: str, anchors: npt.NDArray[np.float32], writer: GraphWriter
) -> str:
    """x1, y1, x2, y2 in pixels of the canvas.

    An encoding says y, x, height and width: where the centre lies from the anchor's in its sides,
    and the logarithm of the size in them, each times a scale.
    """
    add, constant = writer.add, writer.constant
    corners: dict[str, str] = {}
    for place, (axis, side) in enumerate((("y", "h"), ("x", "w"))):
        pixels = detector.canvas[1 - place]
        centre, size = anchors[:, place, None], anchors[:, 2 + place, None]
        scale, size_scale = (detector.postprocess.number(f"{n}_scale") for n in (axis, side))
        if not (scale > 0 and size_scale > 0):
            raise Malformed("a scale of its boxes is not above zero")
        moved = writer.slice(encodings, place, place + 1, axis=2)
        middle = add("Mul", [moved, constant(pixels * size / scale)])
        middle = add("Add", [middle, constant(pixels * centre)])
        grown = writer.slice(encodings, 2 + place, 3 + place, axis=2)
        grown = add("Exp", [add("Mul", [grown, constant(1 / size_scale)])])
        half = add("Mul", [grown, constant(pixels * size / 2)])
        corners[f"{axis}1"] = add("Sub", [middle, half])
        corners[f"{axis}2"] = add("Add", [middle, half])
    return add("Concat", [corners[side] for side in ("x1", "y1", "x2", "y2")], axis=2)
