"""Darknet's YOLOs: the graph gives what torch gives, and what does not fit is refused."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from shared.catalog.exports import ExportedModel, ExportRequest
from shared.errors import HeadraceError, PermanentError, UsageError
from shared.views.letterbox import Letterbox
from shared.views.stretch import Stretch
from tests.support import darknet_files as files
from tests.support.darknet_files import CLASSES, TorchYolo, conv, last, net, pool, route, yolo
from workers.inference.export import export
from workers.inference.formats.darknet import FORMAT
from workers.inference.formats.darknet.cfg import Cfg, Section
from workers.inference.formats.darknet.layers import plan

SMALL = [net(), conv(4, stride=4), last(), yolo()]
NETWORKS = {
    "YOLOv3-tiny": files.yolo_v3_tiny(),
    "YOLOv4-tiny": files.yolo_v4_tiny(wide=4, side=64),
    "residual": files.residual(),
    "residual with mish": files.residual("mish"),
    "scaled": files.scaled(),
}


def exported(folder: Path, cfg: str | None, **more: Any) -> ExportedModel:
    config = None
    if cfg is not None:
        config = folder / "own.cfg"
        config.write_text(cfg)
    request = {"weights": folder / "own.weights", "sha256": "a" * 64}
    request["output"] = folder / "model.onnx"
    return export(ExportRequest.model_validate({**request, "config": config, **more}))


def refused(folder: Path, sections: list[files.Section] | str) -> str:
    """What is said of a cfg beside the weights of ``SMALL``."""
    if not (folder / "own.weights").exists():
        TorchYolo(SMALL).write(folder / "own.weights")
    with pytest.raises(PermanentError) as caught:
        exported(folder, sections if isinstance(sections, str) else files.text(sections))
    assert not (folder / "model.onnx").exists()
    return caught.value.message


@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_gives_the_rows_that_torch_gives(name: str, tmp_path: Path) -> None:
    sections = NETWORKS[name]
    network = TorchYolo(sections)
    network.write(tmp_path / "own.weights")
    said = exported(tmp_path, files.text(sections))
    width, height = network.net["width"], network.net["height"]
    images = np.random.default_rng(7).integers(0, 256, (3, height, width, 3), np.uint8)
    expected = network(images)
    assert (said.layout, said.classes) == ("rows_with_objectness", CLASSES)
    assert said.view == Stretch(width=width, height=height)
    assert said.outputs == {"boxes": expected[0].size}
    session = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(["boxes"], {"images": images})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_the_whole_yolo_v4_tiny_has_as_many_numbers_as_the_real_one() -> None:
    """Its file has 24,251,276 bytes, for 80 classes: 77 × 3 filters more at each end than here."""
    (_, network), *layers = [
        (name, {key: str(value).replace(" ", "") for key, value in options.items()})
        for name, options in files.yolo_v4_tiny()
    ]
    sections = [Section(name, 1, options) for name, options in layers]
    planned = plan(Cfg(Section("net", 1, network), sections), (3, 416, 416))
    fewer = 77 * 3 * (512 + 1) + 77 * 3 * (256 + 1)
    assert planned.numbers == 6_062_814 - fewer
    assert [shape for shape in planned.shapes if shape[0] == 24] == [(24, 13, 13)] * 2 + [
        (24, 26, 26)
    ] * 2


def test_a_file_is_told_by_its_name(tmp_path: Path) -> None:
    assert FORMAT.is_format_of(tmp_path / "yolov3.weights")
    assert not FORMAT.is_format_of(tmp_path / "weights.pth")


def test_weights_without_a_cfg_are_refused(tmp_path: Path) -> None:
    TorchYolo(SMALL).write(tmp_path / "own.weights")
    with pytest.raises(UsageError, match="has weights alone") as caught:
        exported(tmp_path, None)
    assert "--config" in caught.value.hint


def test_weights_of_an_old_version_are_read(tmp_path: Path) -> None:
    TorchYolo(SMALL).write(tmp_path / "own.weights", version=(0, 1, 0))
    assert exported(tmp_path, files.text(SMALL)).classes == CLASSES


def test_a_letterbox_is_taken_where_the_cfg_says_it(tmp_path: Path) -> None:
    TorchYolo(SMALL).write(tmp_path / "own.weights")
    said = exported(tmp_path, files.text([net(letter_box=1), *SMALL[1:]]))
    assert said.view == Letterbox(width=32, height=32, pad=127)


def test_a_view_of_another_size_is_refused(tmp_path: Path) -> None:
    TorchYolo(SMALL).write(tmp_path / "own.weights")
    with pytest.raises(PermanentError, match="takes 32 × 32 pixels"):
        exported(tmp_path, files.text(SMALL), view=Stretch(width=64, height=64))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ([net(), conv(5, stride=4), last(), yolo()], "has 244 numbers, and 299 are needed"),
        ([net(), conv(3, stride=4), last(), yolo()], "has 244 numbers, and 189 are needed"),
    ],
)
def test_a_cfg_of_other_weights_is_refused(
    other: list[files.Section], expected: str, tmp_path: Path
) -> None:
    said = refused(tmp_path, other)
    assert said.startswith("own.weights does not have the weights of own.cfg: ")
    assert expected in said


@pytest.mark.parametrize("kept", [0, 3, 12, 19, 20, 21, 100, -4, -1])
def test_weights_that_end_early_are_refused(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "own.weights"
    TorchYolo(SMALL).write(path)
    path.write_bytes(path.read_bytes()[:kept])
    assert refused(tmp_path, SMALL).startswith("own.weights does not have the weights of own.cfg")


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    network = TorchYolo(SMALL)
    network.numbers[0][0] = np.nan
    network.write(tmp_path / "own.weights")
    assert "numbers that are not finite" in refused(tmp_path, SMALL)


def test_weights_of_gigabytes_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "own.weights").open("wb") as sparse:
        sparse.truncate(3 * 2**30)
    assert "3,221,225,472 bytes, and 2,080,374,784 are the most" in refused(tmp_path, SMALL)


def _small(*layers: files.Section, **of_net: Any) -> list[files.Section]:
    return [net(**of_net), *layers, last(), yolo()]


WRONG: dict[str, tuple[list[files.Section] | str, str]] = {
    "empty": ("", "it does not begin with [net]"),
    "not text": ("\x00\x01", "is no option of a section"),
    "no section": ("width=3", "line 1: 'width=3' is no option of a section"),
    "half a section": ("[net", "line 1: '[net' is no section"),
    "an option twice": ("[net]\nwidth=3\nwidth=4", "line 3: [net] has width twice"),
    "no value": ("[net]\nwidth", "line 2: 'width' is no option of a section"),
    "too long": ("#" * 2**21, "it has more than 1,048,576 bytes"),
    "layers": ([net(), *[conv(1)] * 1001], "it has more than 1,000 layers"),
    "a section": (_small(("lstm", {"output": 3})), "[lstm]: is no layer of a YOLO"),
    "no end": ([net(), conv(3)], "it has no [yolo]"),
    "no width": ([("net", {"height": 32})], "line 2, [net]: width is missing"),
    "width of zero": (_small(width=0), "width is 0, and 1 to 4,096 are possible"),
    "huge": (_small(width=10**6), "width is 1000000, and 1 to 4,096 are possible"),
    "gray": (_small(channels=1), "only images of 3 channels"),
    "filters": (_small(conv(10**9)), "filters is '1000000000', which is no usable number"),
    "no number": (_small(conv("many")), "filters is 'many', which is no usable number"),  # type: ignore[arg-type]
    "memory": (_small(conv(10**6), width=4096, height=4096), "it would give 1000000 × 4096 × 4096"),
    "nothing left": (_small(conv(4, size=99, pad=0)), "it would give 4 × -66 × -66 values"),
    "grown": (_small(("upsample", {"stride": 10**5})), "it would give 3 × 3200000"),
    "activation": (_small(conv(4, activation="gelu")), "the activation gelu is not converted"),
    "groups": (_small(conv(4, groups=2)), "do not make 2 groups"),
    "route ahead": (_small(route("7")), "layers names the layer 7, which is not before it"),
    "route behind": (_small(route("-3")), "layers names the layer -3, which is not before it"),
    "route nowhere": (_small(route("")), "names no layer"),
    "route sizes": (_small(conv(3), pool(), route("-1,-2")), "differ in height or width"),
    "route group": (_small(conv(4), route("-1", groups=2, group_id=2)), "group_id is 2"),
    "shortcut": (
        _small(conv(3), conv(4), ("shortcut", {"from": -2})),
        "it adds layers of different sizes",
    ),
    "weighted": (
        _small(conv(3), conv(3), ("shortcut", {"from": -2, "weights_type": "per_feature"})),
        "the option weights_type is not converted",
    ),
    "after the end": ([*SMALL, conv(3)], "only a [route] can follow a [yolo]"),
    "filters of the end": (
        [net(), conv(23), yolo()],
        "the layer before it has 23 filters, and 3 boxes of 8 numbers need 24",
    ),
    "mask": ([net(), last(), yolo("0,1,9")], "mask and anchors do not fit together"),
    "classes": (
        [*SMALL, route("-3"), conv(18, 1), yolo(classes=1)],
        "its [yolo] sections differ in their classes",
    ),
    "many classes": ([net(), last(), yolo(classes=10**5)], "1 to 10,000 are possible"),
    "pool": (_small(pool(2, padding=9)), "padding is 9, and 0 to 2 are possible"),
    "no stride": (_small(conv(4, stride=0)), "stride is 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_cfg_that_is_no_yolo_is_refused_with_its_line(case: str, tmp_path: Path) -> None:
    sections, expected = WRONG[case]
    said = refused(tmp_path, sections)
    assert said.startswith("own.cfg is no YOLO of Darknet's that can be read: ")
    assert expected in said


def test_a_spoiled_cfg_ends_in_a_sentence_or_a_graph(tmp_path: Path) -> None:
    network = TorchYolo(NETWORKS["residual"])
    network.write(tmp_path / "own.weights")
    whole, draw = files.text(NETWORKS["residual"]), random.Random(11)
    for _ in range(300):
        at = draw.randrange(len(whole))
        spoiled = whole[:at] + draw.choice("0-9=[],\n x") + whole[at + draw.randint(0, 2) :]
        with suppress(HeadraceError):
            exported(tmp_path, spoiled)
