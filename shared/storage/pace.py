"""Reading a body while it comes at a fair pace.

A timeout on silence lets a server hold a reader for days, a byte a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

WINDOW_SECONDS = 10.0
WINDOW_BYTES = 10 * 1024


def paced(parts: Iterable[Buffer], clock: Callable[[], float] = time.monotonic) -> bytes:
    """The parts joined. Raises TimeoutError where they bring less than a kilobyte a second."""
    taken, began_at, came = [], clock(), 0
    for part in parts:
        taken.append(part)
        came += memoryview(part).nbytes
        if clock() - began_at > WINDOW_SECONDS:
            if came < WINDOW_BYTES:
                raise TimeoutError(f"timed out: {came} bytes came in {WINDOW_SECONDS:g} s")
            began_at, came = clock(), 0
    return b"".join(taken)
