"""Simulated time and chance in place of the real ones, in every module of the product.

So no module has to know that there is such a thing as a simulation, and none can forget to.
"""

from __future__ import annotations

import queue
import random
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, tzinfo
from functools import cache, partial
from types import ModuleType
from typing import Any

from tests.simulation.clock import Clock
from tests.simulation.threads import Executor, SimpleQueue, Threading, Time

PRODUCT = ("producer", "workers", "shared")
_REAL = (time, threading, secrets, datetime, queue.SimpleQueue, ThreadPoolExecutor)


class Secrets:
    """In place of the module ``secrets``: a seed's secrets are the same each time."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def token_hex(self, count: int) -> str:
        return self._chance.randbytes(count).hex()


def _datetime(clock: Time) -> type[datetime]:
    class Datetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.fromtimestamp(clock.time(), tz)

    return Datetime


@cache
def _places() -> list[tuple[ModuleType, str, object]]:
    """Where the product's modules have the real ones, and under which names."""
    modules = [m for name, m in list(sys.modules.items()) if name.split(".")[0] in PRODUCT]
    return [
        (module, name, value)
        for module in modules
        for name, value in vars(module).items()
        if any(value is real for real in _REAL)
    ]


@contextmanager
def substituted(clock: Clock, chance: random.Random) -> Iterator[None]:
    """While it lasts, the product waits on ``clock`` and draws its ids from ``chance``."""
    own_time = Time(clock)
    stand_ins = (
        *(own_time, Threading(clock), Secrets(chance), _datetime(own_time)),
        *(partial(SimpleQueue, clock), Executor),
    )
    by_id = {id(real): stand_in for real, stand_in in zip(_REAL, stand_ins, strict=True)}
    for module, name, value in _places():
        setattr(module, name, by_id[id(value)])
    try:
        yield
    finally:
        for module, name, value in _places():
            setattr(module, name, value)
