"""The ledger on a real Valkey, in any order that Hypothesis finds, beside a model of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shared.ledger import ChunkRef, Ledger, Stale, WorkerIdentity
from shared.ledger.chunks import MAX_REFUSALS
from shared.stages import INFERENCE, PREPROCESS, RESULTS, STAGES, Stage, queue_name
from tests.support import samples
from tests.support.servers import RunningValkey

FIRST, SECOND = queue_name(PREPROCESS), queue_name(INFERENCE, host="testhost")
THIRD = queue_name(RESULTS)
UID, FIRST_QUEUE = samples.JOB_UID, samples.FIRST_QUEUE
HOUR = 3600.0  # leases and pauses end where a rule says so, and not before
CHUNKS = st.integers(0, 2)
WORKERS = [
    WorkerIdentity("any", name, "testhost", pid=n, nonce=name) for n, name in enumerate("xy")
]
WORKER = st.sampled_from(WORKERS)
STAGE = st.sampled_from(list(STAGES.values()))
QUEUES = {PREPROCESS: FIRST, INFERENCE: SECOND, RESULTS: THIRD}
NEXT = {PREPROCESS: INFERENCE, INFERENCE: RESULTS}


@dataclass
class Place:
    """Where the model has a live chunk. ``holder`` is None while it is queued or set aside."""

    stage: Stage
    attempt: int
    holder: WorkerIdentity | None = None
    misses: int = 0
    aside: str = ""
    rescues: int = 0
    refusals: int = 0
    trial: int | None = None
    losses: Counter[Stage] = field(default_factory=Counter)
    lost_runs: Counter[tuple[Stage, int]] = field(default_factory=Counter)

    @property
    def is_queued(self) -> bool:
        return self.holder is None and not self.aside

    @property
    def state(self) -> str:
        return self.aside or ("held" if self.holder else "queued")

    @property
    def counts(self) -> dict[str, int]:
        """What was counted against the chunk and its items, as the ledger notes it."""
        losses = {f"losses {stage.name}": n for stage, n in self.losses.items() if n}
        runs = {f"{stage.name} {item}": n for (stage, item), n in self.lost_runs.items() if n}
        return losses | runs

    def moved(self, stage: Stage, attempt: int, **changes: Any) -> Place:
        """The chunk elsewhere: its worker no longer has it, and what was counted stays."""
        fresh: dict[str, Any] = {"holder": None, "misses": 0, "aside": "", "trial": None}
        return replace(self, stage=stage, attempt=attempt, **{**fresh, **changes})


def stale(action: Callable[[], object]) -> None:
    with pytest.raises(Stale):
        action()


class LedgerMachine(RuleBasedStateMachine):
    """Every live chunk is in one place, done is undone by reopening alone, attempts only grow."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.raw: Any = redis.Redis.from_url(self.url, decode_responses=True)
        self.ledger = Ledger(self.raw, lease_seconds=HOUR, pause_seconds=HOUR)
        self.births = 0
        self.wipe()

    @precondition(lambda self: len(self.done) > 2)
    @rule()
    def wipe(self) -> None:
        self.raw.flushall()
        self.births += 1
        self.incarnation = self.ledger.begin(f"{self.births:016x}")
        self.live: dict[int, Place] = {}
        self.done: set[int] = set()
        self.highest: Counter[int] = Counter()
        self.alive: set[WorkerIdentity] = set()
        self.is_cancelled, self.reopened = False, 0
        self.ledger.register_job(self.incarnation, UID, "job", FIRST_QUEUE)

    def ref(self, chunk: int, attempt: int) -> ChunkRef:
        return ChunkRef(self.incarnation, UID, chunk, attempt)

    def goes(self, expected: bool, action: Callable[[], object]) -> None:
        """Does the ledger agree with the model on whether this may be?"""
        if expected:
            action()
        else:
            stale(action)

    def given_back(self, chunk: int, attempt: int) -> None:
        assert attempt == self.live[chunk].attempt + 1
        self.live[chunk] = self.live[chunk].moved(PREPROCESS, attempt)

    def set_aside(self, chunk: int, aside: str = "waiting") -> None:
        place = self.live[chunk]
        self.live[chunk] = place.moved(
            place.stage, place.attempt + 1, aside=aside, rescues=place.rescues + 1
        )

    def due(self, aside: str) -> set[int]:
        """What is aside for the first time waits for nobody, the rest until ``time_passes``."""
        scores = self.raw.zrange(f"hr:{aside}", 0, -1, withscores=True)
        over = {int(name.split()[1]) for name, score in scores if score == 0}
        return {
            chunk
            for chunk, place in self.live.items()
            if place.aside == aside and (place.rescues == 1 or chunk in over)
        }

    def check_queued(self, refs: list[ChunkRef], stage: Stage, due: set[int]) -> None:
        assert {ref.chunk for ref in refs} == due
        for ref in refs:
            place = self.live[ref.chunk]
            assert ref.attempt == place.attempt
            self.live[ref.chunk] = place.moved(stage, ref.attempt)

    @rule(first=CHUNKS, count=st.integers(1, 3), bound=st.integers(1, 4))
    def feed(self, first: int, count: int, bound: int) -> None:
        queued = sum(p.is_queued and p.stage == PREPROCESS for p in self.live.values())
        room = 0 if self.is_cancelled else bound - queued
        wanted = [c for c in range(first, first + count) if c not in self.live.keys() | self.done]
        _, refs = self.ledger.feed(self.incarnation, UID, first, first + count, bound=bound)
        assert [ref.chunk for ref in refs] == wanted[: max(0, room)]
        for ref in refs:
            self.live[ref.chunk] = Place(PREPROCESS, ref.attempt)
            assert ref.attempt > self.highest[ref.chunk]

    @rule(chunk=CHUNKS, worker=WORKER, stage=STAGE, late=st.integers(0, 1))
    def claim(self, chunk: int, worker: WorkerIdentity, stage: Stage, late: int) -> None:
        place = self.live.get(chunk)
        attempt = (place.attempt if place else 1) - late
        may = place is not None and not late and place.is_queued and place.stage == stage
        ref = self.ref(chunk, attempt)
        if not may:
            stale(lambda: self.ledger.claim(ref, stage, worker))
        elif place:
            assert self.ledger.claim(ref, stage, worker).losses == place.losses[stage]
            place.holder, place.misses = worker, 0
            self.alive.add(worker)

    @rule(chunk=CHUNKS, worker=WORKER, stage=st.sampled_from(list(NEXT)), late=st.integers(0, 1))
    def advance(self, chunk: int, worker: WorkerIdentity, stage: Stage, late: int) -> None:
        place, following = self.live.get(chunk), NEXT[stage]
        attempt = (place.attempt if place else 1) - late
        current = place is not None and not late
        moves = current and place is not None and (place.stage, place.holder) == (stage, worker)
        is_there = current and place is not None and place.stage == following
        self.goes(
            moves or is_there,
            lambda: self.ledger.advance(
                self.ref(chunk, attempt), stage, worker, following, QUEUES[following]
            ),
        )
        if moves and place:
            self.live[chunk] = place.moved(following, attempt)

    @rule(chunk=CHUNKS, worker=WORKER, late=st.integers(0, 1))
    def finish(self, chunk: int, worker: WorkerIdentity, late: int) -> None:
        place = self.live.get(chunk)
        attempt = (place.attempt if place else 1) - late
        ends = place is not None and not late and (place.stage, place.holder) == (RESULTS, worker)
        ref = self.ref(chunk, attempt)
        self.goes(ends or chunk in self.done, lambda: self.ledger.finish(ref, worker, {"n": 1}))
        if ends:
            del self.live[chunk]
            self.done.add(chunk)

    @rule(chunk=CHUNKS, worker=WORKER, steps=st.integers(1, 6))
    def go_on(self, chunk: int, worker: WorkerIdentity, steps: int) -> None:
        """As it should be: what is queued is claimed, and its holder moves it on."""
        for _ in range(steps if chunk in self.live else 0):
            if chunk in self.done:
                break
            place = self.live[chunk]
            if place.aside:
                self.time_passes()
                self.rescue_held()
                self.give_up()
            elif place.holder is None:
                self.claim(chunk, worker, place.stage, 0)
            elif place.stage in NEXT:
                self.advance(chunk, place.holder, place.stage, 0)
            else:
                self.finish(chunk, place.holder, 0)

    @rule(chunk=CHUNKS, worker=WORKER, stage=STAGE)
    def give_back(self, chunk: int, worker: WorkerIdentity, stage: Stage) -> None:
        place = self.live.get(chunk)
        ref = self.ref(chunk, place.attempt if place else 1)
        if place is not None and (place.stage, place.holder) == (stage, worker):
            self.given_back(chunk, self.ledger.give_back(ref, stage, worker).ref.attempt)
        else:
            stale(lambda: self.ledger.give_back(ref, stage, worker))

    @rule(worker=WORKER, unnamed=st.sets(CHUNKS))
    def renew(self, worker: WorkerIdentity, unnamed: set[int]) -> None:
        held = {c: p for c, p in self.live.items() if p.holder == worker}
        names = [self.ref(chunk, 0).name for chunk in held if chunk not in unnamed]
        self.ledger.renew(self.incarnation, worker, names)
        self.alive.add(worker)
        for chunk, place in held.items():
            place.misses = place.misses + 1 if chunk in unnamed else 0

    @rule(worker=WORKER, politely=st.booleans())
    def die(self, worker: WorkerIdentity, politely: bool) -> None:
        if politely:
            self.ledger.depart(self.incarnation, worker)
        else:
            self.raw.delete(f"hr:lease:{worker.name}")
        self.alive.discard(worker)

    @rule()
    def rescue_held(self) -> None:
        lost = {
            chunk
            for chunk, place in self.live.items()
            if place.holder and (place.holder not in self.alive or place.misses >= 2)
        }
        for chunk in lost:
            place = self.live[chunk]
            place.losses[place.stage] += 1
            if place.trial is not None:
                place.lost_runs[place.stage, place.trial] += 1
            self.set_aside(chunk)
        due = self.due("waiting")
        refs = self.ledger.rescue_held(self.incarnation)
        self.check_queued(refs, PREPROCESS, due)

    @rule(chunk=CHUNKS, worker=WORKER)
    def lose(self, chunk: int, worker: WorkerIdentity) -> None:
        """Its holder dies, which random steps seldom make happen."""
        if chunk in self.live and self.live[chunk].is_queued:
            self.claim(chunk, worker, self.live[chunk].stage, 0)
            self.die(worker, True)
            self.rescue_held()

    @rule(stage=STAGE, count=st.integers(1, 4))
    def rescue_queued(self, stage: Stage, count: int) -> None:
        oldest = self.raw.zrange(f"hr:queued:{QUEUES[stage]}", 0, count - 1)
        for name in oldest:
            self.set_aside(int(name.split()[1]))
        due = self.due("waiting")
        refs = self.ledger.rescue_queued(self.incarnation, QUEUES[stage], count)
        self.check_queued(refs, PREPROCESS, due)

    @rule()
    def time_passes(self) -> None:
        """So much of it that every pause is over."""
        for aside in ("waiting", "refused"):
            for name in self.raw.zrange(f"hr:{aside}", 0, -1):
                self.raw.zadd(f"hr:{aside}", {name: 0})

    @rule(chunk=CHUNKS, stage=STAGE, late=st.integers(0, 1))
    def refuse(self, chunk: int, stage: Stage, late: int) -> None:
        place = self.live.get(chunk)
        ref = self.ref(chunk, (place.attempt if place else 1) - late)
        may = place is not None and not late and place.is_queued and place.stage == stage
        self.goes(may, lambda: self.ledger.refuse(ref, stage))
        if may and place:
            place.refusals += 1
            self.set_aside(chunk, "refused" if place.refusals >= MAX_REFUSALS else "waiting")

    @rule()
    def give_up(self) -> None:
        due = self.due("refused")
        refs = self.ledger.give_up(self.incarnation, THIRD)
        self.check_queued(refs, RESULTS, due)

    @rule(chunk=CHUNKS, worker=WORKER, stage=STAGE, item=st.integers(-1, 1))
    def run_alone(self, chunk: int, worker: WorkerIdentity, stage: Stage, item: int) -> None:
        place, noted = self.live.get(chunk), None if item < 0 else item
        ref = self.ref(chunk, place.attempt if place else 1)
        if place is None or (place.stage, place.holder) != (stage, worker):
            stale(lambda: self.ledger.mark_running_alone(ref, stage, worker, noted))
            return
        lost_runs = self.ledger.mark_running_alone(ref, stage, worker, noted)
        assert lost_runs == place.lost_runs[stage, item]
        place.trial = noted

    @rule(chunk=CHUNKS)
    def reopen(self, chunk: int) -> None:
        self.ledger.reopen(self.incarnation, UID, chunk)
        self.done.discard(chunk)

    @rule(found=st.sets(CHUNKS))
    def open_again(self, found: set[int]) -> None:
        self.ledger.register_job(self.incarnation, UID, "job", FIRST_QUEUE, sorted(found))
        for chunk in found & {c for c, place in self.live.items() if place.holder is None}:
            del self.live[chunk]
        self.done |= found - self.live.keys()

    @precondition(lambda self: not self.is_cancelled and len(self.live) > 2)
    @rule()
    def cancel(self) -> None:
        self.ledger.cancel_job(self.incarnation, UID)
        self.live, self.is_cancelled = {}, True

    @precondition(lambda self: self.is_cancelled or len(self.done) > 1)
    @rule()
    def close_and_open(self) -> None:
        self.ledger.close_job(self.incarnation, UID)
        stale(lambda: self.ledger.feed(self.incarnation, UID, 0, 1, bound=9))
        self.live, self.done, self.is_cancelled = {}, set(), False
        self.highest = Counter()
        self.ledger.register_job(self.incarnation, UID, "job", FIRST_QUEUE)

    @invariant()
    def each_live_chunk_is_in_one_place(self) -> None:
        lines = {
            int(chunk): line.split() for chunk, line in self.raw.hgetall(f"hr:{UID}:live").items()
        }
        assert {c: (line[0], line[1], int(line[2])) for c, line in lines.items()} == {
            c: (place.state, place.stage.name, place.attempt) for c, place in self.live.items()
        }
        owners = {
            c: place.holder.name if place.holder else QUEUES[place.stage]
            for c, place in self.live.items()
            if not place.aside
        }
        assert {c: line[3] for c, line in lines.items() if line[3] != "-"} == owners
        recorded = [
            (key.removeprefix("hr:held:"), name)
            for key in self.raw.keys("hr:held:*")
            for name in self.raw.hkeys(key)
        ] + [
            (key.removeprefix("hr:queued:"), name)
            for key in self.raw.keys("hr:queued:*")
            for name in self.raw.zrange(key, 0, -1)
        ]
        assert sorted(recorded) == sorted((owner, f"{UID} {c}") for c, owner in owners.items())
        for aside in ("waiting", "refused"):
            names = {f"{UID} {c}" for c, place in self.live.items() if place.aside == aside}
            assert set(self.raw.zrange(f"hr:{aside}", 0, -1)) == names
        counted = {
            int(key.rsplit(":", 1)[1]): {k: int(n) for k, n in self.raw.hgetall(key).items()}
            for key in self.raw.keys(f"hr:{UID}:trial:*")
        }
        assert counted == {c: place.counts for c, place in self.live.items() if place.counts}

    @invariant()
    def done_is_what_the_model_says(self) -> None:
        assert not self.done & self.live.keys()
        for chunk in range(6):
            assert self.ledger.done_between(UID, chunk, chunk + 1) == (chunk in self.done)
        progress = self.ledger.progress(UID)
        assert progress is not None
        assert (progress.done_chunks, progress.live_chunks) == (len(self.done), len(self.live))

    @invariant()
    def attempts_only_grow(self) -> None:
        for chunk, place in self.live.items():
            assert place.attempt >= self.highest[chunk]
            self.highest[chunk] = place.attempt

    @invariant()
    def the_living_are_those_whose_leases_stand(self) -> None:
        assert {worker.name for worker in self.ledger.workers()} == {w.name for w in self.alive}


def test_the_ledger_agrees_with_its_model(valkey: RunningValkey) -> None:
    class Machine(LedgerMachine):
        url = valkey.url

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=80,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
