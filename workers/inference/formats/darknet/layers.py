"""Darknet's layers as ONNX's, each with the shape of what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from workers.inference.formats.darknet.cfg import Cfg, Section
from workers.inference.formats.darknet.weights import Weights
from workers.inference.graph_writer import GraphWriter

# Of what one layer gives for an image: 512 MiB. YOLOv4 at 608 pixels has 12 million at most.
_MAX_VALUES = 2**27
_NORM_EPSILON = 1e-5
_LEAKY_SLOPE = 0.1
# By Darknet's name: ONNX's, and its attributes.
_ACTIVATIONS: dict[str, tuple[str, dict[str, float]]] = {
    "leaky": ("LeakyRelu", {"alpha": _LEAKY_SLOPE}),
    "logistic": ("Sigmoid", {}),
    "mish": ("Mish", {}),
    "relu": ("Relu", {}),
}

# Channels, height and width.
Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Layer:
    """What a layer gives: the array's name in the graph, and its shape for one image."""

    array: str
    shape: Shape


@dataclass
class Planned:
    """The shapes of all layers, and how many numbers they take, before any of them is read."""

    shapes: list[Shape] = field(default_factory=list)
    numbers: int = 0


def plan(cfg: Cfg, images: Shape) -> Planned:
    """Raises BadCfg for layers that do not fit together."""
    planned = Planned()
    given = images
    for place, section in enumerate(cfg.layers):
        if place and cfg.layers[place - 1].name == "yolo" and section.name != "route":
            raise section.wrong("only a [route] can follow a [yolo]")
        given = _SHAPES[section.name](section, given, planned)
        if min(given) < 1 or given[0] * given[1] * given[2] > _MAX_VALUES:
            raise section.wrong(f"it would give {' × '.join(map(str, given))} values")
        planned.shapes.append(given)
    return planned


def sources(section: Section, option: str, layers: list[str] | list[Shape]) -> Iterator[int]:
    """The places of the layers that an option names, from the start or back from here."""
    here = len(layers)
    named = section.numbers(option)
    if not named:
        raise section.wrong(f"{option} names no layer")
    for number in named:
        place = here + number if number < 0 else number
        if not 0 <= place < here:
            raise section.wrong(f"{option} names the layer {number}, which is not before it")
        yield place


def _convolution_shape(section: Section, given: Shape, planned: Planned) -> Shape:
    filters, groups = section.number("filters", 1, least=1), section.number("groups", 1, least=1)
    if given[0] % groups or filters % groups:
        raise section.wrong(
            f"{given[0]} channels and {filters} filters do not make {groups} groups"
        )
    size, pads = section.number("size", 1, least=1), padding(section)
    reach = section.number("dilation", 1, least=1) * (size - 1) + 1
    numbers_each = 4 if section.number("batch_normalize", 0) else 1
    planned.numbers += filters * (numbers_each + given[0] // groups * size * size)
    height, width = (
        (side + 2 * pads - reach) // stride + 1
        for side, stride in zip(given[1:], strides(section), strict=True)
    )
    return filters, height, width


def _pool_shape(section: Section, given: Shape, planned: Planned) -> Shape:  # noqa: ARG001
    size, (before, after) = pool_size(section), pool_padding(section)
    height, width = (
        (side + before + after - size) // stride + 1
        for side, stride in zip(given[1:], strides(section), strict=True)
    )
    return given[0], height, width


def _route_shape(section: Section, given: Shape, planned: Planned) -> Shape:  # noqa: ARG001
    shapes = [planned.shapes[place] for place in sources(section, "layers", planned.shapes)]
    groups = section.number("groups", 1, least=1)
    section.number("group_id", 0, most=groups - 1)
    if len({shape[1:] for shape in shapes}) > 1:
        raise section.wrong("its layers differ in height or width")
    if any(shape[0] % groups for shape in shapes):
        raise section.wrong(f"its layers do not make {groups} groups")
    return sum(shape[0] // groups for shape in shapes), *shapes[0][1:]


def _shortcut_shape(section: Section, given: Shape, planned: Planned) -> Shape:
    for place in sources(section, "from", planned.shapes):
        if planned.shapes[place] != given:
            raise section.wrong("it adds layers of different sizes")
    return given


def _upsample_shape(section: Section, given: Shape, planned: Planned) -> Shape:  # noqa: ARG001
    times = section.number("stride", 2, least=1)
    if section.decimals("scale", "1") != [1.0]:
        raise section.wrong("the option scale is not converted")
    return given[0], given[1] * times, given[2] * times


def _same_shape(section: Section, given: Shape, planned: Planned) -> Shape:  # noqa: ARG001
    return given


_SHAPES: dict[str, Callable[[Section, Shape, Planned], Shape]] = {
    "convolutional": _convolution_shape,
    "maxpool": _pool_shape,
    "route": _route_shape,
    "shortcut": _shortcut_shape,
    "upsample": _upsample_shape,
    "yolo": _same_shape,
}


def strides(section: Section) -> tuple[int, int]:
    """Along height and width."""
    usual = section.number("stride", 1, least=1)
    return (
        section.number("stride_y", usual, least=1),
        section.number("stride_x", usual, least=1),
    )


def padding(section: Section) -> int:
    """Pixels on each side of a convolution's map."""
    size = section.number("size", 1, least=1)
    pixels = size // 2 if section.number("pad", 0) else section.number("padding", 0)
    return pixels * section.number("dilation", 1, least=1)


def pool_size(section: Section) -> int:
    """The side of a pool's window."""
    return section.number("size", section.number("stride", 1, least=1), least=1)


def pool_padding(section: Section) -> tuple[int, int]:
    """Pixels before and after each row and column, of which the smaller half comes before."""
    size = pool_size(section)
    both = section.number("padding", size - 1, most=2 * (size - 1))
    return both // 2, both - both // 2


def convolution(section: Section, given: Layer, weights: Weights, writer: GraphWriter) -> str:
    """A convolution with its activation; batch normalisation becomes part of its numbers."""
    filters, groups = section.number("filters", 1, least=1), section.number("groups", 1, least=1)
    size = section.number("size", 1, least=1)
    bias = weights.take(filters).astype(np.float64)
    gain = np.ones(filters)
    if section.number("batch_normalize", 0):
        scale, mean, variance = (weights.take(filters).astype(np.float64) for _ in range(3))
        with np.errstate(all="ignore"):  # what is not finite is refused when the graph has run
            gain = scale / np.sqrt(variance + _NORM_EPSILON)
            bias = bias - mean * gain
    kernel = weights.take(filters, given.shape[0] // groups, size, size)
    array = writer.add(
        "Conv",
        [
            given.array,
            writer.constant(kernel * gain.reshape(-1, 1, 1, 1)),
            writer.constant(bias),
        ],
        kernel_shape=[size, size],
        strides=list(strides(section)),
        pads=[padding(section)] * 4,
        dilations=[section.number("dilation", 1, least=1)] * 2,
        group=groups,
    )
    return activated(section, array, writer, usual="logistic")


def activated(section: Section, array: str, writer: GraphWriter, usual: str = "linear") -> str:
    """What a section's activation makes of an array."""
    name = section.text("activation", usual)
    if name == "linear":
        return array
    if name == "swish":
        return writer.add("Mul", [array, writer.add("Sigmoid", [array])])
    if name not in _ACTIVATIONS:
        raise section.wrong(f"the activation {name[:30]} is not converted")
    op, attributes = _ACTIVATIONS[name]
    return writer.add(op, [array], **attributes)


def pool(section: Section, given: Layer, writer: GraphWriter) -> str:
    """The largest value of each window."""
    before, after = pool_padding(section)
    return writer.add(
        "MaxPool",
        [given.array],
        kernel_shape=[pool_size(section)] * 2,
        strides=list(strides(section)),
        pads=[before, before, after, after],
    )


def upsample(section: Section, given: Layer, writer: GraphWriter) -> str:
    """Each pixel as a square of them."""
    times = section.number("stride", 2, least=1)
    scales = writer.constant([1, 1, times, times])
    return writer.add(
        "Resize",
        [given.array, "", scales],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def route(section: Section, layers: list[Layer], writer: GraphWriter) -> str:
    """Several layers side by side, or one of the groups of their channels."""
    groups = section.number("groups", 1, least=1)
    chosen = section.number("group_id", 0)
    parts = []
    for place in sources(section, "layers", [layer.shape for layer in layers]):
        layer = layers[place]
        each = layer.shape[0] // groups
        whole = groups == 1
        start = chosen * each
        parts.append(
            layer.array if whole else writer.slice(layer.array, start, start + each, axis=1)
        )
    return parts[0] if len(parts) == 1 else writer.add("Concat", parts, axis=1)


def shortcut(section: Section, given: Layer, layers: list[Layer], writer: GraphWriter) -> str:
    """The sum of layers."""
    array = given.array
    for place in sources(section, "from", [layer.shape for layer in layers]):
        array = writer.add("Add", [array, layers[place].array])
    return activated(section, array, writer)
