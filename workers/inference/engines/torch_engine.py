"""torchvision architectures in PyTorch, on CUDA or on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from shared.pipeline import EngineName, Model, Precision
from workers.inference.engines.hardware import cores
from workers.inference.engines.port import Images, Outputs
from workers.inference.network import build_network

_DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class TorchEngine:
    """Eager PyTorch, channels_last. Raises PermanentError for weights that do not fit."""

    name: EngineName = "torch"
    precision: Precision | None

    def __init__(self, model: Model, weights: Path, precision: Precision, *, cuda: bool) -> None:
        assert model.architecture is not None
        self.precision = precision
        self._device = torch.device("cuda:0" if cuda else "cpu")
        self.device = f"cuda:0 {torch.cuda.get_device_name(0)}" if cuda else "cpu"
        if not cuda:
            torch.set_num_threads(cores())
        module = build_network(model.architecture, weights, model.mean, model.std)
        module.network.to(dtype=_DTYPES[precision], memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._module: torch.nn.Module | None = module.to(self._device)
        self._pinned: torch.Tensor | None = None

    def run(self, images: Images) -> Outputs:
        """Logits, float32 of shape (images, classes)."""
        assert self._module is not None
        with torch.inference_mode():
            logits: torch.Tensor = self._module(self._on_device(torch.from_numpy(images)))
            return np.asarray(logits.float().cpu().numpy())

    def close(self) -> None:
        """Drop the module and give its device memory back."""
        self._module = self._pinned = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _on_device(self, images: torch.Tensor) -> torch.Tensor:
        if self._device.type == "cpu":
            return images
        if self._pinned is None or len(self._pinned) < len(images):
            self._pinned = torch.empty(images.shape, dtype=torch.uint8, pin_memory=True)
        # Free again by the next call: this one returns only when the logits are on the host.
        staged = self._pinned[: len(images)]
        staged.copy_(images)
        return staged.to(self._device, non_blocking=True)
