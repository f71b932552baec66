"""The staging ring as pinned memory, from which the device copies by itself."""

from __future__ import annotations

import logging
from typing import Any

import torch

from workers.inference.engines import Images

# Pinned for every context of the process.
_PORTABLE = 1

log = logging.getLogger(__name__)


def pin(pixels: Images, runtime: Any = None) -> bool:
    """Register memory with CUDA, until this process ends. ``runtime``: CUDA's, by default torch's.

    Where it cannot be pinned that is logged, and copies from it take longer.
    """
    runtime = runtime or torch.cuda.cudart()  # type: ignore[no-untyped-call]
    code = int(runtime.cudaHostRegister(pixels.ctypes.data, pixels.nbytes, _PORTABLE))
    if code:
        log.warning("the staging ring is not pinned (CUDA error %d): copies are slower", code)
    else:
        log.info("the staging ring is pinned, %d MiB", pixels.nbytes >> 20)
    return not code
