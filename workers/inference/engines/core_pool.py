"""Runs a batch on a CPU in slices of a few images, side by side, each on a group of cores.

The data of a small slice stays in a core's caches from one layer to the next. Groups do not wait
for each other. The threads of a single run would, after each layer, so that a decoder on one core
would slow all of them. Measured: ``benchmarks/NOTES.md``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import numpy.typing as npt

from workers.inference.engines.hardware import cores
from workers.inference.engines.port import Images

Arrays = tuple[npt.NDArray[np.float32], ...]
Run = Callable[[Images], Arrays]

SLICE_IMAGES = 4
# More would find no slice for each of them in a batch.
MAX_GROUPS = 16


def groups_and_threads() -> tuple[int, int]:
    """How many groups of cores this machine gets, and how many threads each of them."""
    groups = min(cores(), MAX_GROUPS)
    return groups, cores() // groups


class CorePool:
    """Runs batches by ``runs``, one for each group of cores, which keep no view of their images.

    ``slice_images``: the most that a run gets; 1 for a graph that takes single images.

    The very first slice runs alone. OpenVINO's binding imports parts of numpy when it makes its
    first array, under a lock of C++: another group that comes there meanwhile waits for that lock
    with the interpreter's in its hands, and so for ever.
    """

    def __init__(self, runs: Sequence[Run], slice_images: int = SLICE_IMAGES) -> None:
        self._runs = runs
        self._slice_images = slice_images
        self._begun = False
        self._threads = ThreadPoolExecutor(len(runs), thread_name_prefix="cores")

    def run(self, images: Images) -> Arrays:
        """What the groups give for all images, in their order. Raises what one of them raises."""
        size = min(self._slice_images, -(-len(images) // len(self._runs)))
        firsts = range(0, len(images), size)
        left, given = deque(firsts), dict[int, Arrays]()

        def take(first: int, run: Run) -> None:
            given[first] = run(images[first : first + size])

        def work(run: Run) -> None:
            while (first := _next(left)) is not None:
                take(first, run)

        if not self._begun:
            take(left.popleft(), self._runs[0])
            self._begun = True
        working = [self._threads.submit(work, run) for run in self._runs[: len(left)]]
        # All of them, before others get the memory that the images lie in. Who runs the batch has a
        # deadline, which also ends a group that hangs.
        wait(working)
        for group in working:
            group.result()
        return tuple(map(np.concatenate, zip(*(given[first] for first in firsts), strict=True)))

    def close(self) -> None:
        """Let go of the engines, and end the threads."""
        self._runs = ()
        self._threads.shutdown()


def _next(left: deque[int]) -> int | None:
    try:
        return left.popleft()
    except IndexError:  # another group took the last
        return None
