"""The simulation's Valkey and a real one, asked the same: they must answer the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, cast

import pytest
import redis

from shared.ledger import ChunkRef, Ledger, Stale, WorkerIdentity
from shared.stages import INFERENCE, PREPROCESS, RESULTS, STAGES, queue_name
from tests.simulation.client import Client
from tests.simulation.clock import Clock, Process
from tests.simulation.gate import Gate
from tests.simulation.valkey import Valkey
from tests.support.samples import FIRST_QUEUE, JOB_UID
from tests.support.servers import RunningValkey

FIRST, SECOND, THIRD = (
    queue_name(PREPROCESS),
    queue_name(INFERENCE, host="testhost"),
    queue_name(RESULTS),
)
WORKERS = [WorkerIdentity("any", name, "testhost", pid=1, nonce=name) for name in "xy"]
UIDS = [JOB_UID, "3" * 16]
STEPS = 200
HOUR = 3600.0  # leases end where a step says so, and not before

# Lets a script read the time that its caller gives as its first key.
CLOCK = """
local valkey = redis
local redis = {call = function(name, ...)
  if name == 'TIME' then return {KEYS[1], KEYS[2]} end
  return valkey.call(name, ...)
end}
"""


class ClockedClient:
    """A client of a real Valkey whose scripts go by ``clock``, in whole seconds."""

    def __init__(self, url: str, clock: Callable[[], float]) -> None:
        self._redis: Any = redis.Redis.from_url(url, decode_responses=True)
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._redis, name)

    def register_script(self, text: str) -> Callable[..., Any]:
        script = self._redis.register_script(CLOCK + text)
        return lambda args: script(keys=[str(int(self._clock())), "0"], args=args)


class Pair:
    """Two ledgers that are asked the same things at the same simulated time."""

    def __init__(self, url: str, chance: random.Random) -> None:
        self.now, self.chance = 1_000_000.0, chance
        self.real_client = ClockedClient(url, lambda: self.now)
        self.real_client.flushall()
        self.simulated = Valkey(lambda: self.now)
        clients = (self.real_client, Client(self.simulated, _open_gate()))
        self.ledgers = [Ledger(cast(Any, c), lease_seconds=HOUR) for c in clients]

    def ask(self, name: str, *args: Any, **options: Any) -> Any:
        answers = [self._answer(getattr(ledger, name), *args, **options) for ledger in self.ledgers]
        assert answers[0] == answers[1], f"{name} {args}"
        return answers[0]

    def _answer(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        try:
            return method(*args, **options)
        except Stale as stale:
            return "stale", stale.reason

    def leases_end(self) -> None:
        """The real server's own clock is not waited for."""
        for key in (*self.real_client.keys("hr:lease:*"), "hr:leader"):
            self.real_client.delete(key)
        self.now += 2 * HOUR

    def compare_everything(self) -> None:
        """Each key has the same value, but for bitmaps, of which only the bits are the same."""
        self.simulated.execute("GET", "any")  # what has expired goes when somebody asks
        there = set(self.real_client.keys("*"))
        assert there == set(self.simulated.values)
        for key in there:
            ours = self.simulated.values[key]
            match self.real_client.type(key):
                case "hash":
                    theirs = self.real_client.hgetall(key)
                case "set":
                    theirs, ours = self.real_client.smembers(key), set(ours)
                case "zset":
                    theirs = dict(self.real_client.zrange(key, 0, -1, withscores=True))
                case "list":
                    theirs = self.real_client.lrange(key, 0, -1)
                case _ if key.endswith(":done"):
                    theirs = {bit for bit in range(20) if self.real_client.getbit(key, bit)}
                case _:
                    theirs = self.real_client.get(key)
            assert theirs == ours, key


class _OpenGate(Gate):
    def call(self, service: str, name: str, about: str, action: Callable[[], Any]) -> Any:
        return action()


def _open_gate() -> Gate:
    clock = Clock()
    clock.spawn(Process("nobody"), "main", lambda: None)
    return _OpenGate(clock, random.Random(0), lambda *_: None, lambda *_: None)


def step(pair: Pair, incarnation: str) -> None:
    chance, uid = pair.chance, pair.chance.choice(UIDS)
    stage, worker = chance.choice(list(STAGES.values())), chance.choice(WORKERS)
    ref = ChunkRef(incarnation, uid, chance.randrange(6), chance.randrange(1, 4))
    following = {
        PREPROCESS: (INFERENCE, SECOND),
        INFERENCE: (RESULTS, THIRD),
    }
    queue = chance.choice([FIRST, SECOND, THIRD])
    calls: list[Callable[[], Any]] = [
        lambda: pair.ask(
            "register_job", incarnation, uid, "job", FIRST_QUEUE, chance.sample(range(6), 2)
        ),
        lambda: pair.ask("feed", incarnation, uid, 0, 6, bound=chance.randint(1, 8), most=3),
        lambda: pair.ask("claim", ref, stage, worker),
        lambda: pair.ask("claim", ref, stage, worker),
        lambda: pair.ask("advance", ref, stage, worker, *following.get(stage, (stage, THIRD))),
        lambda: pair.ask("advance", ref, stage, worker, *following.get(stage, (stage, THIRD))),
        lambda: pair.ask("finish", ref, worker, {"succeeded": 2, "seconds": 0.25}),
        lambda: pair.ask("give_back", ref, stage, worker),
        lambda: pair.ask("mark_running_alone", ref, stage, worker, chance.choice((None, 0, 1))),
        lambda: pair.ask("refuse", ref, stage),
        lambda: pair.ask("give_up", incarnation, THIRD),
        lambda: pair.ask("renew", incarnation, worker, [ref.name]),
        lambda: pair.ask("depart", incarnation, worker),
        lambda: pair.ask("rescue_held", incarnation),
        lambda: pair.ask("rescue_queued", incarnation, queue, chance.randint(1, 3)),
        lambda: pair.ask("reopen", incarnation, uid, ref.chunk),
        lambda: pair.ask("still_staged", [ref, ref]),
        lambda: pair.ask("still_needed", [ref, ref]),
        lambda: pair.ask("hosts", "any"),
        lambda: pair.ask("queued_count", queue),
        lambda: pair.ask("queues"),
        lambda: pair.ask("jobs"),
        lambda: pair.ask("done_between", uid, 1, 5),
        lambda: pair.ask("progress", uid),
        lambda: pair.ask("workers"),
        lambda: pair.ask("hint", uid),
        lambda: pair.ask("take_hints"),
        lambda: pair.ask("lead", worker.name, HOUR),
        lambda: pair.ask("stop_leading", worker.name),
        lambda: pair.ask("stale_counts"),
    ]
    rare: list[Callable[[], Any]] = [
        pair.leases_end,
        lambda: pair.ask("cancel_job", incarnation, uid),
        lambda: pair.ask("close_job", incarnation, uid),
    ]
    chance.choice(rare if chance.random() < 0.03 else calls)()


@pytest.mark.parametrize("seed", range(4))
def test_the_simulated_server_answers_as_the_real_one(valkey: RunningValkey, seed: int) -> None:
    pair = Pair(valkey.url, random.Random(seed))
    incarnation = pair.ask("begin", "1" * 16)
    for number in range(STEPS):
        pair.now += pair.chance.choice((0, 1))
        step(pair, incarnation)
        if number % 10 == 0:
            pair.compare_everything()
