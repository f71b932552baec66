"""What this machine offers to an engine."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache
from pathlib import Path

CUDA_PROVIDER = "CUDAExecutionProvider"


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


@cache
def runs_graphs_on_cuda() -> bool:
    """Does ONNX Runtime use a CUDA device here? Only another package of it than usual can."""
    import onnxruntime

    return has_cuda() and CUDA_PROVIDER in onnxruntime.get_available_providers()


def memory_bytes() -> int:
    """The memory that models have: the device's where there is one, else the machine's."""
    if has_cuda():
        import torch

        return int(torch.cuda.mem_get_info()[1])
    return host_memory_bytes()


def host_memory_bytes() -> int:
    """The machine's memory, or a container's limit where that is lower."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no such file, or no limit: "max"
        return found


def machine() -> dict[str, str | int]:
    """What decides how fast and how exactly engines compute here."""
    facts: dict[str, str | int] = {"cpu": platform.processor(), "cores": cores()}
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "flags", "CPU part", "Features"):
            facts[name.strip()] = value.strip()
    if has_cuda():
        import torch

        facts["gpu"] = torch.cuda.get_device_name(0)
    return facts
