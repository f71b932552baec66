"""torchvision architectures on CUDA: the device runs one batch while the next arrives."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shared.model import EngineName, Model, Precision
from workers.inference.engines.cuda import Cuda, Tensors, first_device
from workers.inference.engines.folding import without_batch_norms
from workers.inference.engines.port import LAUNCHED_BATCHES, DeviceRun, Images, Outputs
from workers.inference.engines.torch_engine import DTYPES
from workers.inference.errors import is_out_of_memory
from workers.inference.networks.build import build_network

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _BatchBuffers:
    """What one batch needs on the device: room for its images and its outputs, and events.

    ``outputs``: on the host, none before the first batch.
    """

    images: torch.Tensor
    outputs: list[torch.Tensor]
    arrived: Any
    started: Any
    ended: Any


@dataclass(frozen=True, slots=True)
class _PendingRun:
    buffers: _BatchBuffers
    images: int

    def wait(self) -> DeviceRun:
        buffers = self.buffers
        buffers.ended.synchronize()
        ended_at = time.time()
        # The next batch's lie there soon.
        outputs = tuple(array[: self.images].numpy().copy() for array in buffers.outputs)
        return DeviceRun(outputs, buffers.started.elapsed_time(buffers.ended) / 1000, ended_at)


@dataclass(frozen=True, slots=True)
class _Program:
    """The model for batches of one size: ``run`` makes ``outputs`` of ``images``, on the device."""

    images: torch.Tensor
    run: Callable[[], None]
    outputs: Tensors


class CudaEngine:
    """The network as a CUDA graph for each batch size, channels_last, its batch norms folded.

    Images go from where they lie to the device on a stream of their own, without being joined
    first; from the staging ring, which is pinned, without the host. Batches are filled up to the
    next power of two. Raises PermanentError for weights that do not fit.
    """

    name: EngineName = "torch"
    precision: Precision | None

    def __init__(
        self, model: Model, weights: Path, precision: Precision, cuda: Cuda | None = None
    ) -> None:
        assert model.architecture is not None
        self.precision = precision
        self._cuda = cuda or first_device()
        self.device = self._cuda.name
        torch.backends.cudnn.benchmark = True  # batches have few sizes
        module = build_network(model.architecture, weights, model.mean, model.std, model.outputs)
        module.network = without_batch_norms(module.network)
        module.network.to(dtype=DTYPES[precision], memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._module: torch.nn.Module | None = module.to(self._cuda.device)
        self._buffers: list[_BatchBuffers | None] = [None] * LAUNCHED_BATCHES
        self._launched = 0
        self._programs: dict[tuple[int, ...], _Program] = {}

    def run(self, images: Images) -> Outputs:
        """The arrays of ``Model.outputs``, in float32."""
        return self.launch([images]).wait().outputs

    @torch.inference_mode()
    def launch(
        self,
        pieces: Sequence[Images],
        seconds: float = math.inf,  # noqa: ARG002 - nothing on a device can be ended
    ) -> _PendingRun:
        """Begin with a batch; see ``StreamingEngine``. Its outputs are as those of ``run``."""
        images = sum(map(len, pieces))
        cuda, shape = self._cuda, (_padded(images), *pieces[0].shape[1:])
        program, buffers = self._program(shape), self._buffers_of(shape)
        with cuda.on(cuda.copies):
            first = 0
            for piece in pieces:
                there = buffers.images[first : first + len(piece)]
                there.copy_(torch.from_numpy(piece), non_blocking=True)
                first += len(piece)
            buffers.arrived.record(cuda.copies)
        with cuda.on(cuda.compute):
            cuda.compute.wait_event(buffers.arrived)
            buffers.started.record(cuda.compute)
            program.images.copy_(buffers.images[: shape[0]])
            program.run()
            if not buffers.outputs or len(buffers.outputs[0]) < shape[0]:
                buffers.outputs = [cuda.on_host(*array.shape) for array in program.outputs]
            for array, written in zip(buffers.outputs, program.outputs, strict=True):
                array[: shape[0]].copy_(written, non_blocking=True)
            buffers.ended.record(cuda.compute)
        self._launched += 1
        return _PendingRun(buffers, images)

    def close(self) -> None:
        """Let the device finish, then give its memory back."""
        self._module = None
        self._buffers = [None] * LAUNCHED_BATCHES
        self._forget()

    def _forget(self) -> None:
        """Drop the programs, none of which may run meanwhile, and give their memory back."""
        self._cuda.finish()
        self._programs.clear()
        self._cuda.finish()

    def _buffers_of(self, shape: tuple[int, ...]) -> _BatchBuffers:
        """The buffers whose batch ended longest ago, with room for images of that shape."""
        turn = self._launched % LAUNCHED_BATCHES
        buffers = self._buffers[turn]
        if (
            buffers is None
            or len(buffers.images) < shape[0]
            or buffers.images.shape[1:] != shape[1:]
        ):
            images = torch.empty(shape, dtype=torch.uint8, device=self._cuda.device)
            event = self._cuda.event
            buffers = self._buffers[turn] = _BatchBuffers(images, [], event(), event(), event())
        return buffers

    def _program(self, shape: tuple[int, ...]) -> _Program:
        if shape not in self._programs:
            try:
                self._programs[shape] = self._captured(shape) or self._uncaptured(shape)
            except Exception as error:
                if is_out_of_memory(error):  # programs hold memory in which smaller batches may fit
                    self._forget()
                raise
        return self._programs[shape]

    def _captured(self, shape: tuple[int, ...]) -> _Program | None:
        """None for a model that does what cannot be captured."""
        images = torch.zeros(shape, dtype=torch.uint8, device=self._cuda.device)
        self._cuda.finish()  # it is zero before another stream reads it
        try:
            replay, outputs = self._cuda.captured(lambda: self._outputs(images))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            log.warning("no CUDA graph of this model: it runs without", exc_info=True)
            return None
        return _Program(images, replay, outputs)

    def _uncaptured(self, shape: tuple[int, ...]) -> _Program:
        images = torch.zeros(shape, dtype=torch.uint8, device=self._cuda.device)
        outputs = tuple(map(torch.empty_like, self._outputs(images)))
        self._cuda.finish()

        def run() -> None:
            for array, computed in zip(outputs, self._outputs(images), strict=True):
                array.copy_(computed)

        return _Program(images, run, outputs)

    def _outputs(self, images: torch.Tensor) -> Tensors:
        assert self._module is not None
        return tuple(array.float() for array in self._module(images))


def _padded(images: int) -> int:
    """The next power of two."""
    return 1 << (images - 1).bit_length()
