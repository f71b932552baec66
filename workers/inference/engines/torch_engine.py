"""torchvision architectures in PyTorch, on the CPU; see ``cuda_engine`` for the other device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from shared.model import EngineName, Model, Precision
from workers.inference.engines.hardware import cores
from workers.inference.engines.port import Images, Outputs
from workers.inference.networks.build import build_network

DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class TorchEngine:
    """Eager PyTorch, channels_last. Raises PermanentError for weights that do not fit."""

    name: EngineName = "torch"
    precision: Precision | None
    device = "cpu"

    def __init__(self, model: Model, weights: Path, precision: Precision) -> None:
        assert model.architecture is not None
        self.precision = precision
        torch.set_num_threads(cores())
        module = build_network(model.architecture, weights, model.mean, model.std, model.outputs)
        module.network.to(dtype=DTYPES[precision], memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._module: torch.nn.Module | None = module

    def run(self, images: Images) -> Outputs:
        """The arrays of ``Model.outputs``, in float32."""
        assert self._module is not None
        with torch.inference_mode():
            given: tuple[torch.Tensor, ...] = self._module(torch.from_numpy(images))
            return tuple(np.asarray(array.float().numpy()) for array in given)

    def close(self) -> None:
        """Drop the module."""
        self._module = None
