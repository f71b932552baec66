"""The one model, by each engine: uint8 images (n, 224, 224, 3) to the most likely class of each.

Exported graphs run in the core pool of our own engines: all use an engine in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers.task import Meter, Task
from workers.inference.engines.core_pool import CorePool, groups_and_threads

Images = npt.NDArray[np.uint8]
Classes = npt.NDArray[np.int64]
Run = Callable[[Images], Any]
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Classifier:
    """Loaded once by whichever process calls it; notes each run."""

    def __init__(self, task: Task) -> None:
        self._run = _ENGINES[task.engine](task)
        self._meter = Meter(task.meter)

    def __call__(self, images: Images) -> Classes:
        started = time.time()
        logits = self._run(images)[0]
        self._meter.note(started, len(images))
        classes: Classes = np.asarray(logits).argmax(axis=1)
        return classes


def onnxruntime_run(task: Task, output: str) -> Run:
    """Runs the task's graph, of which it gives one output."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    groups, options.intra_op_num_threads = groups_and_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(task.onnx, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    outputs = [output]
    return CorePool([lambda images: tuple(session.run(outputs, {name: images}))] * groups).run


def _onnxruntime(task: Task) -> Run:
    return onnxruntime_run(task, "scores")


def _openvino(task: Task) -> Run:
    import openvino

    hint = {"float32": "f32", "bfloat16": "bf16"}[task.precision]
    groups, threads = groups_and_threads()
    core = openvino.Core()
    graph = core.read_model(task.onnx)
    for result in graph.get_results():
        if "scores" not in result.input_value(0).get_names():
            graph.remove_result(result)
    model = core.compile_model(
        graph,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": hint,
            "NUM_STREAMS": groups,
            "INFERENCE_NUM_THREADS": groups * threads,
            "ENABLE_CPU_PINNING": False,
        },
    )
    requests = [model.create_infer_request() for _ in range(groups)]
    return CorePool([partial(_infer, request) for request in requests]).run


def _infer(request: Any, images: Images) -> Any:
    return (request.infer([images])[0].copy(),)


def _eager(task: Task) -> Run:
    import torch
    import torchvision

    torch.set_num_threads(task.threads)
    network = torchvision.models.mobilenet_v2()
    network.load_state_dict(torch.load(task.weights, weights_only=True))
    network.eval()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _STD))

    def run(images: Images) -> Any:
        with torch.inference_mode():
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
            return (network((pixels - mean) / std).numpy(),)

    return run


_ENGINES = {"onnxruntime": _onnxruntime, "openvino": _openvino, "eager": _eager}
