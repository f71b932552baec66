"""Detectors among users' graphs: the layouts that outputs may have, and their usual images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from shared.model import LayoutName
from shared.placement import Size
from shared.views import View
from shared.views.letterbox import Letterbox
from shared.views.stretch import Stretch
from workers.inference.graphs.images import AS_THEY_ARE, Pixels
from workers.inference.graphs.wrapping import Output
from workers.inference.layouts import LAYOUTS, Layout, layout_of

SCALED = Pixels((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

# As networks of a layout are usually trained; SCALED for others.
_PIXELS = {"yolox": replace(AS_THEY_ARE, channels="bgr")}
# Those whose images begin in the corner of a letterbox; in its centre for others.
_TOP_LEFT = ("yolox",)
# Those of SSDs and RetinaNets.
HAS_CORNERS = ("boxes_and_scores", "normalised_boxes_and_scores")


class Known(NamedTuple):
    """A layout, and the names that it gives to a graph's outputs."""

    name: LayoutName
    layout: Layout
    outputs: list[Output]


def layouts_by_shape(
    outputs: Sequence[Output], canvas: Size, asked: LayoutName | None
) -> list[Known]:
    """The layouts that outputs of these shapes may have; of ``asked`` alone, where one is.

    Whole numbers come last, for labels: torchvision's detectors give them before the scores.
    """
    outputs = sorted(outputs, key=lambda output: output.is_integer)
    shapes = [output.shape for output in outputs]
    found = []
    for name in LAYOUTS if asked is None else (asked,):
        layout = layout_of(name)
        names = layout.names(shapes, canvas)
        if names is not None:
            named = zip(outputs, names, strict=True)
            found.append(Known(name, layout, [replace(out, name=new) for out, new in named]))
    return found


def order_is_torchvisions(outputs: Sequence[Output]) -> bool:
    """Whether they are boxes, whole labels and scores, as torchvision's detectors give them."""
    return [output.is_integer for output in outputs] == [False, True, False]


def usual_pixels(layout: LayoutName) -> Pixels:
    """What networks of that layout are usually trained on."""
    return _PIXELS.get(layout, SCALED)


def usual_view(layout: LayoutName, canvas: Size) -> View:
    """How images usually become what networks of that layout take."""
    width, height = canvas
    # SSDs are trained on stretched images.
    if layout in HAS_CORNERS:
        return Stretch(width=width, height=height)
    align = "top_left" if layout in _TOP_LEFT else "centre"
    return Letterbox(width=width, height=height, align=align)
