"""What it costs to find objects in a detector's raw arrays, beside the detector itself."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from PIL import Image

from benchmarks.figures.bench import Bench
from benchmarks.stack import ROOT
from shared.analyses.boxes import Boxes
from shared.placement import Size
from shared.views.letterbox import Letterbox
from workers.inference.engines import Images
from workers.inference.engines.openvino_engine import openvino  # type: ignore[attr-defined]
from workers.inference.heads import NetworkOutputs, head_of

DATA = ROOT.parent / "shared" / "data"
IMAGES, PIXELS, ROUNDS = 32, 640, 7
VIEW = Letterbox(width=PIXELS, height=PIXELS, align="top_left")
LABELS = tuple(map(str, range(80)))


def boxes_head(_: Bench) -> dict[str, Any]:
    """CPU milliseconds for a batch of 32 photos: YOLOX-nano at 640 pixels, and the head.

    The network runs in bfloat16 where the CPU has it, its fastest way here. The head gets the same
    8,400 candidates of 80 classes in each layout. In CPU time, other work does not count.
    """
    images, sizes = _photos()
    run, precision = _network()
    raw = run(images)
    arrays = _in_layouts(raw)
    given = {name: NetworkOutputs(of, name, VIEW.canvas) for name, of in arrays.items()}
    asked, head = Boxes(model="yolox_nano", view=VIEW), head_of("boxes")
    objects = head.answers(asked, given["yolox"], LABELS, sizes).values
    times: dict[str, list[float]] = {}
    for _round in range(ROUNDS):
        times.setdefault("network", []).append(_milliseconds(lambda: run(images)))
        for name, outputs in given.items():
            spent = _milliseconds(lambda of=outputs: head.answers(asked, of, LABELS, sizes))  # type: ignore[misc]
            times.setdefault(name, []).append(spent)
    medians = {name: round(statistics.median(all_), 1) for name, all_ in times.items()}
    network = medians.pop("network")
    return {
        "precision": precision,
        "objects": len(objects.flatten()),
        "network_cpu_milliseconds": network,
        "head_cpu_milliseconds": medians,
        "most_of_the_network": round(max(medians.values()) / network, 4),
        "target_at_most": 0.15,
    }


def _photos() -> tuple[Images, list[Size]]:
    canvases, sizes = np.full((IMAGES, PIXELS, PIXELS, 3), VIEW.pad, np.uint8), []
    paths = sorted((DATA / "coco-val" / "images").glob("*"))[:IMAGES]
    for canvas, path in zip(canvases, paths, strict=True):
        photo = Image.open(path).convert("RGB")
        width, height = VIEW.place(photo.size).resized
        canvas[:height, :width] = np.asarray(photo.resize((width, height)))
        sizes.append(photo.size)
    return canvases, sizes


def _network() -> tuple[Callable[[Images], Any], str]:
    """YOLOX-nano for images of 640 pixels; its file is for 416, and nothing else in it is."""
    model = onnx.load(DATA / "weights" / "yolox_nano_dynbatch.onnx")
    for side in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        side.dim_value = PIXELS
    del model.graph.value_info[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    core = openvino.Core()
    has_bfloat16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    precision = "bf16" if has_bfloat16 else "f32"
    graph = core.read_model(model.SerializeToString())
    compiled = core.compile_model(
        graph, "CPU", {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1}
    )

    def run(images: Images) -> Any:
        bgr = images[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
        return np.array(compiled([np.ascontiguousarray(bgr)])[0])

    return run, precision


def _in_layouts(rows: Any) -> dict[str, dict[str, Any]]:
    """The same boxes and scores, as networks of other layouts have them."""
    side_cells = [PIXELS // stride for stride in (8, 16, 32)]
    corners = np.concatenate([np.indices((n, n))[::-1].reshape(2, -1).T for n in side_cells])
    strides = np.repeat([8, 16, 32], [n * n for n in side_cells])[:, np.newaxis]
    centres, sizes = (rows[..., :2] + corners) * strides, np.exp(rows[..., 2:4]) * strides
    scores = rows[..., 4:5] * rows[..., 5:]
    columns = np.concatenate([centres, sizes, scores], axis=2).transpose(0, 2, 1)
    sides = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=2)
    return {
        "yolox": {"boxes": rows},
        "yolov8": {"boxes": np.ascontiguousarray(columns, np.float32)},
        "boxes_and_scores": {"boxes": sides.astype(np.float32), "box_scores": scores},
    }


def _milliseconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return (time.process_time() - started) * 1000
