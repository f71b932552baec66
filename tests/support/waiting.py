"""Waiting for a condition with a deadline, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def wait_for(
    condition: Callable[[], _T], *, what: str, deadline_seconds: float = 30.0, every: float = 0.05
) -> _T:
    """The first truthy value of ``condition``; AssertionError naming ``what`` at the deadline."""
    deadline = time.monotonic() + deadline_seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {deadline_seconds} s: {what}"
        time.sleep(every)
    return value
