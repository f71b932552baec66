"""The limits, each alone on the machine: ``python -m benchmarks.gpu.alone TASK-AS-JSON``.

In a process of its own, so that its memory and its threads are gone before the system runs.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

PIXELS = 224


@dataclass(frozen=True, slots=True)
class Task:
    """``what``: model, decode or gpu-decode. ``weights`` and ``photos`` are paths."""

    what: str
    architecture: str
    weights: str
    precision: str
    photos: list[str]
    batch_images: int
    seconds: float


def rate(work: Callable[[], int], seconds: float) -> float:
    """Images per second of ``work``, which says how many each call was."""
    work()
    images, started = 0, time.monotonic()
    while time.monotonic() - started < seconds:
        images += work()
    return images / (time.monotonic() - started)


def decode_rate(task: Task) -> dict[str, float]:
    """The preprocess stage's decoder on images in memory, a process for each core."""
    processes = os.cpu_count() or 1
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        rates = list(pool.map(_decode_rate, [task] * processes))
    return {"decode": sum(rates)}


def _decode_rate(task: Task) -> float:
    from benchmarks.peers import decoders

    decode = decoders.ours()
    bodies = [Path(photo).read_bytes() for photo in task.photos]

    def decode_all() -> int:
        for body in bodies:
            decode(body)
        return len(bodies)

    return rate(decode_all, task.seconds)


def model_rates(task: Task) -> dict[str, float]:
    """The engine of the inference stage over one batch, and torch by itself in two ways."""
    from workers.inference.engines.hardware import has_cuda

    rates = _on_cuda(task) if has_cuda() else _on_cpu(task)
    return {name: found for name, found in rates.items() if found}


def _on_cpu(task: Task) -> dict[str, float]:
    from benchmarks.gpu.networks import model_of
    from workers.inference.engines.torch_engine import TorchEngine

    weights, precision = Path(task.weights), task.precision
    engine = TorchEngine(model_of(task.architecture, weights), weights, precision)  # type: ignore[arg-type]
    images = np.zeros((task.batch_images, PIXELS, PIXELS, 3), np.uint8)
    return {"model": rate(lambda: len(engine.run(images)[0]), task.seconds)}


def _on_cuda(task: Task) -> dict[str, float]:
    """``model`` is by the device's own clock, without the copies; the others by this one's."""
    import torch

    from benchmarks.gpu.networks import model_of
    from workers.inference.engines.cuda_engine import CudaEngine

    weights, precision = Path(task.weights), task.precision
    model = model_of(task.architecture, weights)
    engine = CudaEngine(model, weights, precision)  # type: ignore[arg-type]
    images = np.zeros((task.batch_images, PIXELS, PIXELS, 3), np.uint8)
    engine.run(images)
    device_seconds, batches, started = 0.0, 0, time.monotonic()
    in_flight = engine.launch([images])
    while time.monotonic() - started < task.seconds:
        following = engine.launch([images])
        device_seconds += in_flight.wait().seconds
        batches, in_flight = batches + 1, following
    in_flight.wait()
    engine.close()
    module, resident = _module(task), torch.from_numpy(images).to("cuda:0")
    return {
        "model": batches * task.batch_images / device_seconds,
        "eager": _synchronised(module, resident, task.seconds),
        "compiled": _compiled(module, resident, task.seconds),
    }


def _module(task: Task) -> Any:
    """The network with its normalisation on the device, as the engine has it."""
    import torch

    from benchmarks.gpu.networks import MEAN, STD
    from workers.inference.engines.torch_engine import DTYPES
    from workers.inference.networks.build import build_network

    module = build_network(task.architecture, Path(task.weights), MEAN, STD)
    dtype = DTYPES[task.precision]  # type: ignore[index]
    module.network.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module.to("cuda:0")


def _compiled(module: Any, resident: Any, seconds: float) -> float:
    """``torch.compile`` with its own CUDA graphs; 0 where this machine cannot compile."""
    import torch

    try:
        return _synchronised(torch.compile(module, mode="reduce-overhead"), resident, seconds)
    except Exception as error:  # noqa: BLE001 - as for want of a C compiler
        print(f"torch.compile: {error}", file=sys.stderr)
        return 0.0


def _synchronised(module: Any, resident: Any, seconds: float) -> float:
    import torch

    @torch.inference_mode()
    def run_some() -> int:
        for _ in range(4):
            module(resident)
        torch.cuda.synchronize()
        return 4 * len(resident)

    return rate(run_some, seconds)


def gpu_decode_rates(task: Task) -> dict[str, float]:
    """torchvision's CUDA decoder with resize and crop, alone and with the model after it."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms.v2 import functional

    found = [np.fromfile(photo, np.uint8) for photo in task.photos]
    bodies = [torch.from_numpy(body) for body in found][: task.batch_images]
    module = _module(task)

    @torch.inference_mode()
    def decoded() -> torch.Tensor:
        decoded = decode_jpeg(bodies, mode=ImageReadMode.RGB, device="cuda:0")
        resized = (functional.resize(image, [256], antialias=True) for image in decoded)
        crops = [functional.center_crop(image, [PIXELS, PIXELS]) for image in resized]
        return torch.stack(crops).permute(0, 2, 3, 1)

    def decode() -> int:
        images = len(decoded())
        torch.cuda.synchronize()
        return images

    @torch.inference_mode()
    def decode_and_run() -> int:
        images = len(module(decoded())[0])
        torch.cuda.synchronize()
        return images

    return {
        "gpu_decode": rate(decode, task.seconds),
        "gpu_decode_and_model": rate(decode_and_run, task.seconds),
    }


def main() -> None:
    task = Task(**json.loads(sys.argv[1]))
    limits = {"model": model_rates, "decode": decode_rate, "gpu-decode": gpu_decode_rates}
    json.dump(limits[task.what](task), sys.stdout)


if __name__ == "__main__":
    main()
