"""From a model's file to the first row, by ``models add`` and the pipeline that it prints."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torchvision

from benchmarks.figures.bench import Bench
from benchmarks.stack import ROOT

SHARED_WEIGHTS = ROOT.parent / "shared/data/weights/yolox_nano_dynbatch.onnx"
TARGET_SECONDS = 60.0


def models_add(bench: Bench) -> dict[str, Any]:
    """Seconds from ``models add`` to the end of a job of one image, for each kind of file.

    Weights are random but for YOLOX's. timm is measured where it is installed, YOLOX where the
    test data are.
    """
    seconds: dict[str, float] = {}
    with TemporaryDirectory() as folder:
        for name, make in FILES.items():
            if file := make(Path(folder)):
                seconds[name] = _first_row(bench, name, *file)
    return {"seconds": seconds, "target_at_most": TARGET_SECONDS}


def _first_row(bench: Bench, name: str, file: Path, *options: str) -> float:
    started = time.monotonic()
    pipeline = file.with_name(f"{name}.yaml")
    pipeline.write_text(bench.stack.run("models", "add", name, str(file), *options))
    bench.stack.json("enqueue", bench.photos, "--pipeline", str(pipeline), "--limit=1", "--wait")
    return time.monotonic() - started


def _resnet(folder: Path) -> tuple[Any, ...]:
    """A classifier of five classes, with a head of its own."""
    path = folder / "flowers.pth"
    torch.save(torchvision.models.resnet18(num_classes=5).state_dict(), path)
    return (path,)


def _yolox(folder: Path) -> tuple[Any, ...] | None:  # noqa: ARG001 - as the others
    return (SHARED_WEIGHTS,) if SHARED_WEIGHTS.exists() else None


def _detector(folder: Path) -> tuple[Any, ...]:
    path = folder / "detector.pth"
    network = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4
    )
    torch.save(network.state_dict(), path)
    return (path, "--architecture", "ssdlite320_mobilenet_v3_large")


def _timm(folder: Path) -> tuple[Any, ...] | None:
    """As timm's own exporter writes it: pixels as floats, channels first."""
    if find_spec("timm") is None:
        return None
    import timm

    path = folder / "timm.onnx"
    network = timm.create_model("efficientnet_lite0", exportable=True).eval()
    torch.onnx.export(
        network,
        (torch.zeros(1, 3, 224, 224),),
        path,
        input_names=["input0"],
        output_names=["output0"],
        dynamic_axes={"input0": {0: "batch"}, "output0": {0: "batch"}},
        dynamo=False,
    )
    return (path,)


FILES: dict[str, Callable[[Path], tuple[Any, ...] | None]] = {
    "flowers": _resnet,
    "yolox": _yolox,
    "ssdlite": _detector,
    "timm": _timm,
}
