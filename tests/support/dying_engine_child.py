"""The inference suspect child, with an engine that dies: ``python -m`` runs it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from workers.inference.engines import Images, Outputs
from workers.inference.engines.onnxruntime_engine import OnnxRuntimeEngine
from workers.inference.suspect_child import begin
from workers.suspects.serve import serve

KILLED, SEGFAULT, LOOP, HELD_GIL, RAISES = 200, 201, 202, 203, 204
_run = OnnxRuntimeEngine.run


def run(self: OnnxRuntimeEngine, images: Images) -> Outputs:
    """As the engine's own, but for images with one of the values above."""
    first = int(images.flat[0])
    if first == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    if first == SEGFAULT:
        ctypes.string_at(0)
    while first == LOOP:
        pass
    if first == HELD_GIL:
        ctypes.PyDLL(None).sleep(600)
    if first == RAISES:
        raise ValueError("it raised")
    print("to stdout, where no frame may be", flush=True)
    return _run(self, images)


if __name__ == "__main__":
    OnnxRuntimeEngine.run = run  # type: ignore[method-assign]
    sys.exit(serve(begin))
