"""The one way out of a simulated process: where time passes, calls go wrong, and faults strike."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import redis

from shared.errors import TransientError
from shared.storage import StoreUnavailable
from tests.simulation.clock import Clock, Process

_T = TypeVar("_T")

FAR = "-far"
MAX_STALL_SECONDS = 6.0
KINDS = 4  # a call is refused, stalls, loses its answer, or is done twice, as clients retry it

_UNAVAILABLE: dict[str, Callable[[], Exception]] = {
    "ledger": lambda: redis.ConnectionError("simulated"),
    "broker": lambda: TransientError("broker_unavailable", "The broker does not answer."),
    "staging": lambda: redis.ConnectionError("simulated"),
    "store": lambda: StoreUnavailable("store_unavailable", "The store does not answer."),
}


def is_far(process: str) -> bool:
    """Whether a process of this name is on the other host."""
    return process.endswith(FAR)


@dataclass(slots=True)
class Strike:
    """What befalls the process that is the ``count``-th to call ``name``, before or after it."""

    name: str
    count: int
    is_before: bool
    blow: Callable[[Process], None]


@dataclass
class Gate:
    """``rate``: how often a call fails, how often it stalls, and so on, each.

    Until ``cut_until`` the far host reaches nobody.
    """

    clock: Clock
    chance: random.Random
    note: Callable[..., None]
    watch: Callable[[str, str], None]
    rate: float = 0.0
    cut_until: float = 0.0
    down_until: dict[str, float] = field(default_factory=dict)
    strikes: list[Strike] = field(default_factory=list)
    _calls: Counter[str] = field(default_factory=Counter)

    def call(self, service: str, name: str, about: str, action: Callable[[], _T]) -> _T:
        """Have ``service`` do ``action``. Raises what the service's client raises."""
        name = f"{service}.{name}"
        self._strike(name, is_before=True)
        way = 0.0001 + 0.004 * self.chance.random() ** 3
        way_there = way if self.chance.random() < 0.5 else 0.0  # else it is the answer that takes
        self.clock.sleep(way_there)
        answer = self._answer(service, name, about, action)
        self.clock.sleep(way - way_there)
        self._strike(name, is_before=False)
        return answer

    def touch(self, name: str, action: Callable[[], _T]) -> _T:
        """Do something that cannot fail, but before and after which a process may be struck."""
        self._strike(name, is_before=True)
        is_slow = self.rate and self.chance.random() < self.rate
        self.clock.sleep(self.chance.random() if is_slow else 0.00005)
        answer = action()
        self._strike(name, is_before=False)
        return answer

    def _answer(self, service: str, name: str, about: str, action: Callable[[], _T]) -> _T:
        if self.down_until.get(service, 0.0) > self.clock.now:
            raise self._unavailable(service, name, about, "is down")
        if self.cut_until > self.clock.now and is_far(self.clock.process.name):
            raise self._unavailable(service, name, about, "is out of reach")
        drawn = self.chance.random() / self.rate if self.rate else KINDS
        if drawn < 1:
            raise self._unavailable(service, name, about, "is refused")
        stall = self.chance.random() * MAX_STALL_SECONDS if drawn < 2 else 0.0
        is_late = drawn < 1.5  # else it is the answer that is old when it comes
        self.clock.sleep(stall if is_late else 0.0)
        answer = self._do(name, about, action)
        self.clock.sleep(0.0 if is_late else stall)
        if 2 <= drawn < 3:
            raise self._unavailable(service, name, about, "loses its answer")
        if 3 <= drawn < KINDS:
            self.clock.sleep(self.chance.random())
            return self._do(name, about, action)
        return answer

    def _do(self, name: str, about: str, action: Callable[[], _T]) -> _T:
        try:
            answer = action()
        except Exception as error:
            self.note(name, about, "->", error)
            raise
        self.note(name, about, "->", answer)
        self.watch(name, about)
        return answer

    def _unavailable(self, service: str, *story: str) -> Exception:
        self.note(*story)
        return _UNAVAILABLE[service]()

    def _strike(self, name: str, *, is_before: bool) -> None:
        if not self.strikes:
            return
        if is_before:
            self._calls[name] += 1
        for strike in self.strikes:
            if (strike.name, strike.is_before) == (name, is_before) and (
                strike.count == self._calls[name]
            ):
                self.strikes.remove(strike)
                self.note("struck", "before" if is_before else "after", name)
                strike.blow(self.clock.process)
                break
