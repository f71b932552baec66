"""The faults: each strikes a running stack by a draw, and says what it did."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis

from producer.stack.local.states import processes
from shared.settings import load_settings
from tests.support import samples
from tests.support.injection.chaos.jobs import Jobs
from tests.support.malformed import Target, cases
from tests.support.stack import Stack

ROLES = ("producer", "preprocess", "inference", "collector")
MAX_FREEZE_SECONDS = 15.0
MAX_MESSAGE_BYTES = 2**20
MAX_PROCESSES = 3

Strike = Callable[[random.Random], str]


@dataclass
class Faults:
    """``choose`` draws one, which strikes by a draw of its own. ``thaw`` ends those that last."""

    stack: Stack
    jobs: Jobs
    _frozen: set[int] = field(default_factory=set)
    _timers: list[threading.Timer] = field(default_factory=list)

    def choose(self, draw: random.Random) -> tuple[str, Strike]:
        """The name of a fault, and what strikes and says what it did."""
        table: dict[str, tuple[int, Strike]] = {
            "SIGKILL": (8, self._kill),
            "SIGSTOP": (4, self._freeze),
            "broker wiped": (2, self._wipe),
            "broker killed": (1, self._kill_broker),
            "broker restarted": (1, lambda _: self._restart("valkey")),
            "store restarted": (1, lambda _: self._restart("seaweedfs")),
            "role restarted": (2, lambda draw: self._restart(draw.choice(ROLES))),
            "scaled": (3, self._scale),
            "cancelled": (1, self.jobs.cancel),
            "retried": (2, self.jobs.retry),
            "malformed messages": (3, self._malform),
            "dead letters replayed": (1, self._replay),
        }
        weights = [weight for weight, _ in table.values()]
        name = draw.choices(list(table), weights)[0]
        return name, table[name][1]

    def thaw(self) -> None:
        """Nothing is frozen any more."""
        for timer in self._timers:
            timer.cancel()
        for pid in list(self._frozen):
            self._continue(pid)

    def _some(self, role: str, draw: random.Random) -> int | None:
        found = processes(self.stack.home)  # sooner than by the command line
        pids = [process.pid for process in found if process.role == role and process.pid]
        return draw.choice(pids) if pids else None

    def _kill(self, draw: random.Random) -> str:
        role = draw.choice(ROLES)
        return f"{role} {self._send(self._some(role, draw), signal.SIGKILL)}"

    def _kill_broker(self, draw: random.Random) -> str:
        return f"valkey {self._send(self._some('valkey', draw), signal.SIGKILL)}"

    def _freeze(self, draw: random.Random) -> str:
        role, seconds = draw.choice(ROLES), draw.uniform(1.0, MAX_FREEZE_SECONDS)
        pid = self._some(role, draw)
        if pid is not None:
            self._frozen.add(pid)
            timer = threading.Timer(seconds, self._continue, (pid,))
            self._timers.append(timer)
            timer.start()
        return f"{role} {self._send(pid, signal.SIGSTOP)} for {seconds:.0f} s"

    def _continue(self, pid: int) -> None:
        self._frozen.discard(pid)
        self._send(pid, signal.SIGCONT)

    @staticmethod
    def _send(pid: int | None, number: signal.Signals) -> str:
        try:
            os.kill(pid or 0, number) if pid else None
        except ProcessLookupError:
            return f"{pid} was gone"
        return str(pid or "does not run")

    def _wipe(self, _: random.Random) -> str:
        self._broker().flushall()
        return "all of it"

    def _restart(self, role: str) -> str:
        return f"{role}{_answer(self.stack, 'restart', role)}"

    def _scale(self, draw: random.Random) -> str:
        wanted = f"{draw.choice(ROLES)}={draw.randint(1, MAX_PROCESSES)}"
        return f"{wanted}{_answer(self.stack, 'scale', wanted)}"

    def _malform(self, draw: random.Random) -> str:
        """Some of every kind that the tests of the messages know."""
        queue = draw.choice(self.stack.info["queues"])
        role = queue["role"]
        samples_of = {
            "preprocess": samples.chunk,
            "inference": samples.batch,
            "collector": samples.result,
        }
        key = load_settings(self.stack.home).signing_keys[0]
        target = Target(role, queue["name"], key, samples_of[role]())
        broker, known = self._broker(), cases(role)
        chosen = draw.sample(sorted(known), draw.randint(1, 20))
        messages = [known[name].make(target) for name in chosen]
        small = [raw for raw in messages if len(raw) <= MAX_MESSAGE_BYTES]
        for raw in small:
            broker.lpush(queue["name"], raw)
        return f"{len(small)} for {role}"

    def _replay(self, _: random.Random) -> str:
        return _answer(self.stack, "dead-letters", "replay", "--all").strip() or "all"

    def _broker(self) -> Any:
        return redis.Redis.from_url(self.stack.info["broker_url"], socket_timeout=5)


def _answer(stack: Stack, *arguments: str) -> str:
    """Nothing, or how the command failed."""
    done = stack.run(*arguments, check=False)
    return f": {done.stderr.strip()}" if done.returncode else ""
