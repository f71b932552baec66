"""The few things that the engine asks of CUDA, through torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

Tensors = tuple[torch.Tensor, ...]
# Before capture, for what libraries set up at their first calls.
_WARM_UPS = 3


class Cuda:
    """One device with two streams: ``copies`` brings images, ``compute`` runs the model."""

    def __init__(self, index: int = 0) -> None:
        self.device = torch.device("cuda", index)
        self.name = f"{self.device} {torch.cuda.get_device_name(index)}"
        self.copies: Any = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        self.compute: Any = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def event(self) -> Any:
        """An event that keeps its time, and on which a thread sleeps and does not spin."""
        return torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        """What the body asks of the device, it does in the order of ``stream``."""
        with torch.cuda.stream(stream):
            yield

    def on_host(self, *shape: int) -> torch.Tensor:
        """Pinned float32 memory, to which the device copies while the host goes on."""
        return torch.empty(shape, dtype=torch.float32, device="cpu", pin_memory=True)

    def captured(self, compute: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
        """``compute`` as a CUDA graph: what replays it, and the tensors that it writes each time.

        It reads the same tensors each time. Replay on the stream ``compute``.
        """
        with self.on(self.compute):
            for _ in range(_WARM_UPS):
                compute()
        graph = torch.cuda.CUDAGraph()
        # Graphs run one after the other, so they share memory. Other threads may wait meanwhile.
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self.compute, capture_error_mode="thread_local"
        ):
            written = compute()
        return graph.replay, written

    def finish(self) -> None:
        """Return when the device is done, with all memory that nobody uses given back."""
        torch.cuda.synchronize(self.device)
        torch.cuda.empty_cache()


@cache
def first_device() -> Cuda:
    """The device of this process, on which all its models take turns."""
    return Cuda()
