"""What this machine offers to an engine."""

from __future__ import annotations

import ctypes
import os
from functools import cache


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def has_cuda() -> bool:
    """Is there a CUDA device that torch can use?

    The driver's library is asked for first: where it is not, importing torch to learn so would
    cost seconds and 200 MB in a worker that only runs ONNX Runtime.
    """
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    import torch

    return torch.cuda.is_available()
