"""Frozen SSDs of TensorFlow: the graph is the network, and damage is named."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn.functional import conv2d, pad, relu, relu6

from shared.catalog.exports import ExportedModel, ExportRequest
from shared.errors import PermanentError
from shared.views.stretch import Stretch
from tests.support.frozen_graphs import (
    ANCHORS,
    CLASSES,
    SIDE,
    SmallSsd,
    attribute,
    constant,
    counted,
    node,
    shape,
    sized,
    varint,
)
from workers.inference.export import export
from workers.inference.formats import tensorflow_ssd
from workers.inference.formats.tensorflow_ssd.wire import Malformed

FORMAT = tensorflow_ssd.FORMAT


def exported(data: bytes, folder: Path, **more: object) -> tuple[ExportedModel, Path]:
    file, output = folder / "ssd.pb", folder / "model.onnx"
    file.write_bytes(data)
    request = {"weights": file, "sha256": "a" * 64, "output": output, "format": "tensorflow_ssd"}
    return export(ExportRequest.model_validate(request | more)), output


def refused(data: bytes, folder: Path) -> str:
    with pytest.raises(PermanentError) as caught:
        exported(data, folder)
    assert [path.name for path in folder.iterdir()] == ["ssd.pb"]
    return str(caught.value)


def by_torch(ssd: SmallSsd, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same network in torch: boxes in pixels, and scores without the background."""
    weights = {name: torch.from_numpy(values) for name, values in ssd.weights.items()}
    ours = {n: w.permute(3, 2, 0, 1) for n, w in weights.items() if w.ndim == 4 and n != "deep"}
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    # TensorFlow pads an even side below and right alone.
    x = conv2d(pad(x, (0, 1, 0, 1)), ours["first"], stride=2)
    x = torch.nn.functional.batch_norm(
        *(x, weights["mean"], weights["variance"], weights["gamma"], weights["beta"]), eps=0.001
    )
    x = x * relu6(x + 3) / 6
    deep = weights["deep"].permute(2, 3, 0, 1)
    x = relu(conv2d(pad(x, (0, 1, 0, 1)), deep, stride=2, groups=8))
    gates = conv2d(x.mean((2, 3), keepdim=True), ours["gate"], weights["bias"])
    x = x * gates.sigmoid()
    rows = [conv2d(x, ours[name]).permute(0, 2, 3, 1) for name in ("boxes", "scores")]
    boxes, scores = (each.reshape(len(images), ANCHORS, -1) for each in rows)
    centre = boxes[..., :2] / 10 * weights["anchors"][:, 2:] + weights["anchors"][:, :2]
    half = (boxes[..., 2:] / 5).exp() * weights["anchors"][:, 2:] / 2
    corners = torch.cat([(centre - half).flip(2), (centre + half).flip(2)], 2) * SIDE
    return corners.numpy(), scores.sigmoid()[..., 1:].numpy()


def test_the_graph_gives_the_networks_boxes_in_pixels_and_its_scores(tmp_path: Path) -> None:
    ssd = SmallSsd()
    said, output = exported(ssd.bytes(), tmp_path)
    assert said.layout == "boxes_and_scores"
    assert said.view == Stretch(width=SIDE, height=SIDE)
    assert said.outputs == {"boxes": ANCHORS * 4, "box_scores": ANCHORS * CLASSES}
    assert (said.classes, said.labels) == (CLASSES, None)
    images = np.random.default_rng(2).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    found = session.run(["boxes", "box_scores"], {"images": images})
    for ours, torchs in zip(found, by_torch(ssd, images), strict=True):
        np.testing.assert_allclose(ours, torchs, rtol=0, atol=1e-4)


def test_a_file_is_told_by_its_name(tmp_path: Path) -> None:
    assert FORMAT.is_format_of(tmp_path / "frozen_inference_graph.pb")
    assert not FORMAT.is_format_of(tmp_path / "model.onnx")


def test_a_view_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="takes 16 × 16 pixels, and not 8 × 8"):
        exported(SmallSsd().bytes(), tmp_path, view=Stretch(width=8, height=8))


def _circle(ssd: SmallSsd) -> None:
    ssd.add("conv", "Conv2D", "features", "first/read", padding="SAME", strides=[1, 1, 1, 1])


def _too_large(ssd: SmallSsd) -> None:
    huge = counted(1, 1) + sized(2, shape((1 << 40, 4))) + sized(5, b"\0\0\0\0")
    ssd.nodes["anchors"] = node("anchors", "Const", raw_value=sized(8, huge))


def _deep(ssd: SmallSsd) -> None:
    """Longer than Python's stack."""
    for number in range(3000):
        ssd.add(f"more{number}", "Identity", f"more{number - 1}" if number else "boxes_all")
    ssd.add("encodings", "Conv2D", "more2999")


CHANGES: dict[str, tuple[Callable[[SmallSsd], None], str]] = {
    "no end": (lambda ssd: ssd.nodes.pop("end"), "it is no SSD"),
    "two ends": (lambda ssd: ssd.add("end2", "TFLite_Detection_PostProcess"), "it is no SSD"),
    "no scale": (lambda ssd: ssd.end(x_scale=None), "'end' has no x_scale"),
    "scale of zero": (lambda ssd: ssd.end(h_scale=0.0), "a scale of its boxes is not above zero"),
    "no classes": (lambda ssd: ssd.end(num_classes=0), "it has no classes"),
    "any size": (
        lambda ssd: ssd.add("image", "Placeholder", raw_shape=sized(7, shape((1, -1, -1, 3)))),
        "is no image of a known size",
    ),
    "a missing node": (lambda ssd: ssd.nodes.pop("norm"), "the node 'norm' is missing"),
    "a circle": (_circle, "its nodes need each other in a circle"),
    "a huge constant": (_too_large, "does not have the values that its shape needs"),
    "flat anchors": (
        lambda ssd: ssd.nodes.update(anchors=constant("anchors", np.zeros(8, np.float32))),
        r"its anchors have the shape \[8\]",
    ),
    "one input": (lambda ssd: ssd.add("biased", "BiasAdd", "gated"), "has one input instead of"),
    "a long chain": (_deep, "has one input instead of two"),
    "doubled": (
        lambda ssd: ssd.nodes.update(again=ssd.nodes["relu"]),
        "two nodes are named 'relu'",
    ),
    "unknown": (
        lambda ssd: ssd.add("relu", "ResizeBilinear", "conv2"),
        "has the operation ResizeBilinear, which is not converted",
    ),
    "other anchors": (
        lambda ssd: ssd.nodes.update(anchors=constant("anchors", np.ones((9, 4), np.float32))),
        "cannot run the graph|not of the shape",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_no_such_detector_is_refused_in_a_sentence(change: str, tmp_path: Path) -> None:
    ssd = SmallSsd()
    spoil, expected = CHANGES[change]
    spoil(ssd)
    with pytest.raises(PermanentError, match=expected):
        exported(ssd.bytes(), tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08\x01",
        b"PK\x03\x04" + bytes(100),
        b"\xff" * 50,
        sized(1, sized(1, b"\xff\xfe")),
        sized(1, counted(1, 5)),
        varint(1 << 3 | 3),
        sized(1, sized(5, sized(1, b"value") + counted(2, 3))),
    ],
)
def test_bytes_that_are_no_graph_are_refused(data: bytes, tmp_path: Path) -> None:
    assert "is not a frozen detector that can be read" in refused(data, tmp_path)


def test_a_file_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.pb"
    with file.open("wb") as sparse:
        sparse.truncate(3 * 2**30)
    with pytest.raises(PermanentError, match="3,221,225,472 bytes, and 536,870,912 are the most"):
        FORMAT.export(ExportRequest(weights=file, sha256="a" * 64, output=tmp_path / "model.onnx"))


def test_damage_anywhere_ends_in_a_sentence_or_a_graph(tmp_path: Path) -> None:
    """Cut anywhere, or with bytes changed: no traceback, and no memory for what is claimed."""
    whole, draw = SmallSsd().bytes(), random.Random(3)
    for cut in range(0, len(whole) - 1, 61):
        refused(whole[:cut], tmp_path)
    for _ in range(150):
        spoiled = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            spoiled[draw.randrange(len(whole))] = draw.randrange(256)
        with suppress(PermanentError):
            exported(bytes(spoiled), tmp_path)


def test_a_scalar_attribute_is_read_in_either_form() -> None:
    assert attribute(3) == counted(3, 3)
    with pytest.raises(Malformed):
        list(tensorflow_ssd.wire.fields(memoryview(b"\x80" * 11)))
