"""The end of a YOLO: a map's numbers as rows of boxes."""

from __future__ import annotations

import numpy as np

from shared.placement import Size
from workers.inference.formats.darknet.cfg import Section
from workers.inference.formats.darknet.layers import Layer, Shape
from workers.inference.graph_writer import GraphWriter

# Centre, width and height, and whether there is an object at all.
_BEFORE_CLASSES = 5
MAX_CLASSES = 10_000


def classes_of(section: Section) -> int:
    """How many classes a [yolo] tells apart."""
    return section.number("classes", 20, least=1, most=MAX_CLASSES)


def require_fits(section: Section, shape: Shape) -> None:
    """Raise BadCfg unless the map before a [yolo] has its numbers."""
    boxes, wanted = len(_anchors(section)), _BEFORE_CLASSES + classes_of(section)
    if shape[0] != boxes * wanted:
        raise section.wrong(
            f"the layer before it has {shape[0]} filters, and {boxes} boxes of {wanted} numbers "
            f"need {boxes * wanted}"
        )


def _anchors(section: Section) -> list[tuple[float, float]]:
    """The width and height, in pixels of the canvas, of each box of this map."""
    sides = section.decimals("anchors")
    known = list(zip(sides[::2], sides[1::2], strict=False))
    mask = section.numbers("mask") if "mask" in section.options else list(range(len(known)))
    if len(sides) % 2 or not mask or not all(0 <= number < len(known) for number in mask):
        raise section.wrong("mask and anchors do not fit together")
    return [known[number] for number in mask]


def rows(section: Section, given: Layer, canvas: Size, writer: GraphWriter) -> tuple[str, int]:
    """Rows of cx, cy, width, height in pixels of the canvas, objectness, and scores of classes.

    Returns the array (batch, rows, 5 + classes), and how many rows it has.
    """
    anchors = _anchors(section)
    _, height, width = given.shape
    numbers = _BEFORE_CLASSES + classes_of(section)
    count = len(anchors) * height * width
    whole = writer.constant([0, len(anchors), numbers, height * width], np.int64)
    boxes = writer.add("Reshape", [given.array, whole])
    boxes = writer.add("Transpose", [boxes], perm=[0, 1, 3, 2])
    boxes = writer.add("Reshape", [boxes, writer.constant([0, count, numbers], np.int64)])
    centre, size, rest = (
        writer.slice(boxes, start, end, axis=2) for start, end in ((0, 2), (2, 4), (4, numbers))
    )
    if not (is_scaled := bool(section.number("new_coords", 0))):
        centre, rest = writer.add("Sigmoid", [centre]), writer.add("Sigmoid", [rest])
    parts = [
        _centres(section, centre, given.shape, canvas, len(anchors), writer),
        _sizes(size, np.repeat(anchors, height * width, axis=0), writer, is_scaled=is_scaled),
        rest,
    ]
    return writer.add("Concat", parts, axis=2), count


def _centres(
    section: Section, found: str, shape: Shape, canvas: Size, boxes: int, writer: GraphWriter
) -> str:
    """From places within a cell of the map to pixels."""
    _, height, width = shape
    (scale,) = section.decimals("scale_x_y", "1")[:1] or (1.0,)
    y, x = np.mgrid[:height, :width]
    cells = np.tile(np.stack([x, y], axis=-1).reshape(-1, 2), (boxes, 1))
    pixels = np.array([canvas[0] / width, canvas[1] / height])
    moved = writer.add("Mul", [found, writer.constant(scale * pixels)])
    return writer.add("Add", [moved, writer.constant((cells - (scale - 1) / 2) * pixels)])


def _sizes(
    found: str, anchors: np.typing.NDArray[np.float64], writer: GraphWriter, *, is_scaled: bool
) -> str:
    """``is_scaled``: as Scaled-YOLOv4 has them, the square of twice the number."""
    if is_scaled:
        square = writer.add("Mul", [found, found])
        return writer.add("Mul", [square, writer.constant(4 * anchors)])
    return writer.add("Mul", [writer.add("Exp", [found]), writer.constant(anchors)])
