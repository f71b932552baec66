"""The input of a user's graph that takes images, and its pixels for our images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from shared.catalog.exports import ChannelOrder, ModelInput
from shared.fields import MAX_SIDE_PIXELS, Channels
from shared.placement import Size
from workers.inference.engines.port import Images
from workers.inference.graphs.refusals import refused

_CHANNELS = 3
_TYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.UINT8: "uint8",
}
_WRITE_A_CLASS = "Write a class that runs it."


@dataclass(frozen=True, slots=True)
class ImageInput:
    """Where images go in.

    ``dtype``: as numpy names it. ``shape``: None where any number will do. ``batch``: the name
    that the file gives to the number of images, empty where it has none.
    ``is_batched``: whether it takes several images, or one as an array of rank 3.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    batch: str
    channels_first: bool
    is_batched: bool

    @property
    def canvas(self) -> tuple[int | None, int | None]:
        """Width and height that it takes, None where any will do."""
        sides = self.shape[-2:] if self.channels_first else self.shape[-3:-1]
        return sides[1], sides[0]

    @property
    def described(self) -> ModelInput:
        """As a model's document has it."""
        return ModelInput(name=self.name, dtype=self.dtype, shape=self.shape)


@dataclass(frozen=True, slots=True)
class Pixels:
    """How a network takes pixels; ``mean`` and ``std`` are per RGB channel, of 0..1."""

    mean: Channels
    std: Channels
    channels: ChannelOrder = "rgb"

    def factors(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """The factors of 0..255, and what is added, in the network's order of channels."""
        std, mean = np.array(self.std), np.array(self.mean)
        order = slice(None, None, -1 if self.channels == "bgr" else 1)
        scale, shift = 1 / (255 * std[order]), -mean[order] / std[order]
        return scale.astype(np.float32), shift.astype(np.float32)


AS_THEY_ARE = Pixels((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))


def image_input(graph: onnx.GraphProto) -> ImageInput:
    """The graph's one input. Raises PermanentError where it has others, or takes no image."""
    weights = {tensor.name for tensor in graph.initializer}
    given = [each for each in graph.input if each.name not in weights]
    if len(given) != 1:
        names = ", ".join(each.name for each in given)[:200] or "none"
        raise refused(f"The graph has {len(given)} inputs ({names}), not one.", _WRITE_A_CLASS)
    (one,) = given
    tensor = one.type.tensor_type
    sides = list(tensor.shape.dim)
    shape = tuple(side.dim_value if side.dim_value > 0 else None for side in sides)
    dtype = _TYPES.get(tensor.elem_type)
    image = shape[-3:]
    if dtype is None or len(shape) not in (3, 4) or _CHANNELS not in (image[0], image[2]):
        raise refused(
            f"The graph takes no image: its input '{one.name[:60]}' is {_kind(tensor)} of shape "
            f"{shown(shape)}, and not float32, float16 or uint8 of shape (batch, 3, height, width) "
            "or (batch, height, width, 3).",
            _WRITE_A_CLASS,
        )
    if len(shape) == 4 and shape[0] not in (None, 1):
        raise refused(
            f"The graph takes batches of {shape[0]} images alone.",
            "Export it again for one image, or for any number.",
        )
    if any(side is not None and side > MAX_SIDE_PIXELS for side in shape):
        raise refused(
            f"The graph takes images of shape {shown(shape)}, and a side may have "
            f"{MAX_SIDE_PIXELS} pixels."
        )
    is_batched = len(shape) == 4
    batch = sides[0].dim_param if is_batched else ""
    return ImageInput(one.name, dtype, shape, batch, image[0] == _CHANNELS, is_batched)


def as_taken(images: Images, taken: ImageInput, pixels: Pixels) -> npt.NDArray[Any]:
    """The array for the graph's input, of uint8 RGB ``images`` (batch, height, width, 3)."""
    scale, shift = pixels.factors()
    given: npt.NDArray[Any] = images[..., ::-1] if pixels.channels == "bgr" else images
    if taken.dtype != "uint8":
        given = given.astype(np.float32) * scale + shift
    if taken.channels_first:
        given = given.transpose(0, 3, 1, 2)
    given = np.ascontiguousarray(given.astype(taken.dtype))
    return given if taken.is_batched else given[0]


def fitted(canvas: Size | None, taken: ImageInput, usual: Size) -> Size:
    """Width and height of the images: as the graph says, else as asked, else the usual.

    Raises PermanentError where another canvas is asked for than the graph's.
    """
    width, height = taken.canvas
    found = width or (canvas or usual)[0], height or (canvas or usual)[1]
    if canvas is not None and found != tuple(canvas):
        raise refused(
            f"The graph takes images of {found[0]}x{found[1]}, and {canvas[0]}x{canvas[1]} are "
            "asked for.",
            "Leave the size out, or export it again for another.",
        )
    return found


def shown(shape: tuple[int | None, ...]) -> str:
    """A shape as messages have it."""
    return f"({', '.join('?' if side is None else str(side) for side in shape)})"


def _kind(tensor: onnx.TypeProto.Tensor) -> str:
    if not tensor.elem_type:
        return "no array"
    return str(onnx.TensorProto.DataType.Name(tensor.elem_type)).lower()
