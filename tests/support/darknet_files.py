"""Darknet's files for tests: a configuration of each kind of YOLO, and its layers in torch."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

CLASSES = 3
_ACTIVATIONS = {
    "linear": lambda x: x,
    "leaky": lambda x: functional.leaky_relu(x, 0.1),
    "mish": functional.mish,
    "logistic": torch.sigmoid,
    "relu": torch.relu,
    "swish": functional.silu,
}
Section = tuple[str, dict[str, Any]]


def net(width: int = 32, height: int = 32, **more: Any) -> Section:
    """The first section, with options of training as real files have them."""
    training = {"batch": 64, "momentum": 0.9, "policy": "steps", "steps": "400000,450000"}
    return "net", {**training, "width": width, "height": height, "channels": 3, **more}


def conv(filters: int, size: int = 3, stride: int = 1, **more: Any) -> Section:
    """A convolution with batch normalisation and a leaky activation."""
    usual = {"batch_normalize": 1, "pad": 1, "activation": "leaky"}
    return "convolutional", {**usual, "filters": filters, "size": size, "stride": stride, **more}


def last(boxes: int = 3, activation: str = "linear") -> Section:
    """The convolution before a [yolo]."""
    numbers = boxes * (5 + CLASSES)
    return conv(numbers, 1, batch_normalize=0, activation=activation)


def yolo(mask: str = "0,1,2", **more: Any) -> Section:
    """A map of boxes."""
    anchors = "10,14, 23,27, 37,58, 81,82, 135,169, 344,319"
    usual = {"mask": mask, "anchors": anchors, "classes": CLASSES, "num": 6, "jitter": 0.3}
    return "yolo", {**usual, **more}


def route(layers: str, **more: Any) -> Section:
    """Layers side by side."""
    return "route", {"layers": layers, **more}


def pool(size: int = 2, stride: int = 2, **more: Any) -> Section:
    """The largest of a window."""
    return "maxpool", {"size": size, "stride": stride, **more}


def csp(filters: int) -> list[Section]:
    """A stage of YOLOv4-tiny."""
    half = filters // 2
    return [
        *(conv(filters), route("-1", groups=2, group_id=1), conv(half), conv(half)),
        *(route("-1,-2"), conv(filters, 1), route("-6,-1"), pool()),
    ]


def yolo_v4_tiny(wide: int = 32, side: int = 416) -> list[Section]:
    """The layers of YOLOv4-tiny; ``wide`` is 32 in the real one."""
    ends = (conv(16 * wide), last(), yolo("3,4,5", scale_x_y=1.05))
    ends_fine = (conv(8 * wide), last(), yolo("1,2,3", scale_x_y=1.05))
    return [
        *(net(side, side), conv(wide, stride=2), conv(2 * wide, stride=2)),
        *(*csp(2 * wide), *csp(4 * wide), *csp(8 * wide)),
        *(conv(16 * wide), conv(8 * wide, 1), *ends, route("-4"), conv(4 * wide, 1)),
        *(("upsample", {"stride": 2}), route("-1,23"), *ends_fine),
    ]


def yolo_v3_tiny(wide: int = 4) -> list[Section]:
    """The layers of YOLOv3-tiny, with a pool of stride 1; ``wide`` is 16 in the real one."""
    stages = [layer for power in range(5) for layer in (conv(wide * 2**power), pool())]
    return [
        *(net(64, 96), *stages, conv(32 * wide), pool(stride=1), conv(64 * wide)),
        *(conv(16 * wide, 1), conv(32 * wide), last(), yolo("3,4,5"), route("-4")),
        *(conv(8 * wide, 1), ("upsample", {"stride": 2}), route("-1,8"), conv(16 * wide)),
        *(last(), yolo("0,1,2")),
    ]


def residual(activation: str = "leaky") -> list[Section]:
    """A stage of YOLOv3, or with ``mish`` of YOLOv4, with its pyramid of pools."""
    like = {"activation": activation}
    return [
        *(net(), conv(8, stride=2, **like), conv(4, 1, **like), conv(8, **like)),
        ("shortcut", {"from": -3, "activation": "linear"}),
        *(pool(5, 1), route("-2"), pool(9, 1), route("-4"), pool(13, 1), route("-1,-3,-5,-6")),
        *(conv(8, groups=4, **like), conv(8, dilation=2), last(), yolo()),
    ]


def scaled() -> list[Section]:
    """The end of a Scaled-YOLOv4: coordinates of another kind."""
    end = yolo("0,1,2", scale_x_y=2.0, new_coords=1)
    return [net(), conv(8, stride=4, activation="swish"), last(activation="logistic"), end]


def text(sections: list[Section]) -> str:
    """The ``.cfg`` of sections, with a comment and spaces as people write them."""
    blocks = [
        "\n".join([f"[{name}]", *(f"{key} = {value}" for key, value in options.items())])
        for name, options in sections
    ]
    return "# by hand\n" + "\n\n".join(blocks) + "\n"


class TorchYolo:
    """The layers in torch, with random weights that are drawn once. It reads no ``.cfg``."""

    def __init__(self, sections: list[Section]) -> None:
        (_, self.net), *self.layers = sections
        self._draw = np.random.default_rng(5)
        self.numbers: list[npt.NDArray[np.float32]] = []
        self._convolutions: list[tuple[torch.Tensor, ...]] = []
        self(np.zeros((1, self.net["height"], self.net["width"], 3), np.uint8))

    def write(self, path: Path, version: tuple[int, int, int] = (0, 2, 5)) -> None:
        """A ``.weights``."""
        seen = struct.pack("<q" if version[:2] >= (0, 2) else "<i", 1000)
        body = b"".join(array.tobytes() for array in self.numbers)
        path.write_bytes(struct.pack("<3i", *version) + seen + body)

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The rows of boxes for uint8 images of shape (batch, height, width, 3)."""
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        outputs: list[torch.Tensor] = []
        rows: list[torch.Tensor] = []
        drawn = iter(list(self._convolutions))
        for name, options in self.layers:
            if name == "convolutional":
                x = self._convolution(x, options, next(drawn, None))
            elif name == "maxpool":
                x = _pooled(x, options["size"], options["stride"])
            elif name == "upsample":
                x = functional.interpolate(x, scale_factor=options["stride"], mode="nearest")
            elif name == "shortcut":
                x = x + outputs[options["from"]]
            elif name == "route":
                places = [int(place) for place in str(options["layers"]).split(",")]
                groups = options.get("groups", 1)
                parts = [outputs[place].chunk(groups, 1) for place in places]
                x = torch.cat([part[options.get("group_id", 0)] for part in parts], 1)
            else:
                rows.append(self._decoded(x, options))
            outputs.append(x)
        return torch.cat(rows, 1).numpy()

    def _convolution(
        self, x: torch.Tensor, options: dict[str, Any], drawn: tuple[torch.Tensor, ...] | None
    ) -> torch.Tensor:
        filters, size, groups = options["filters"], options["size"], options.get("groups", 1)
        dilation = options.get("dilation", 1)
        if drawn is None:
            drawn = self._drawn(filters, x.shape[1] // groups, size, options["batch_normalize"])
        kernel, bias, *norm = drawn
        usual = (options["stride"], size // 2 * dilation, dilation, groups)
        if norm:
            x = functional.conv2d(x, kernel, None, *usual)
            scale, mean, variance = norm
            x = functional.batch_norm(x, mean, variance, scale, bias, eps=1e-5)
        else:
            x = functional.conv2d(x, kernel, bias, *usual)
        return _ACTIVATIONS[options["activation"]](x)

    def _drawn(
        self, filters: int, channels: int, size: int, has_norm: int
    ) -> tuple[torch.Tensor, ...]:
        normal = self._draw.normal
        bias = normal(0, 0.2, filters)
        scale, mean = 1 + normal(0, 0.1, filters), normal(0, 0.2, filters)
        norm = (scale, mean, 1 + normal(0, 1, filters) ** 2)
        kernel = normal(0, (channels * size * size) ** -0.5, (filters, channels, size, size))
        kept = [bias, *(norm if has_norm else ()), kernel]
        floats = [array.astype(np.float32) for array in kept]
        self.numbers += floats  # in the order of the file
        bias, *norm_floats, kernel = map(torch.from_numpy, floats)
        self._convolutions.append((kernel, bias, *norm_floats))
        return self._convolutions[-1]

    def _decoded(self, x: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        sides = [float(side) for side in options["anchors"].split(",")]
        known = list(zip(sides[::2], sides[1::2], strict=True))
        mask = [int(number) for number in options["mask"].split(",")]
        images, _, height, width = x.shape
        boxes = x.reshape(images, len(mask), 5 + CLASSES, height, width)
        scale = options.get("scale_x_y", 1.0)
        found = []
        for number, place in enumerate(mask):
            for row in range(height):
                for column in range(width):
                    raw = boxes[:, number, :, row, column]
                    new = options.get("new_coords", 0)
                    xy, rest = (raw[:, :2], raw[:, 4:])
                    if not new:
                        xy, rest = xy.sigmoid(), rest.sigmoid()
                    xy = xy * scale - (scale - 1) / 2 + torch.tensor([column, row])
                    xy = xy * torch.tensor([self.net["width"] / width, self.net["height"] / height])
                    wh = (2 * raw[:, 2:4]) ** 2 if new else raw[:, 2:4].exp()
                    found.append(torch.cat([xy, wh * torch.tensor(known[place]), rest], 1))
        return torch.stack(found, 1)


def _pooled(x: torch.Tensor, size: int, stride: int) -> torch.Tensor:
    """As Darknet pads: by one less than the window, most of it after."""
    before = (size - 1) // 2
    after = size - 1 - before
    padded = functional.pad(x, (before, after, before, after), value=float("-inf"))
    return functional.max_pool2d(padded, size, stride)
