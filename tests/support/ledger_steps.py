"""Steps on a ledger that several tests take: feed, lose, and be refused as stale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.ledger import ChunkRef, Ledger, Stale, WorkerIdentity, connect_ledger
from shared.stages import INFERENCE, PREPROCESS, RESULTS, Stage, queue_name
from tests.support import samples

LEASE_SECONDS = 0.5
FIRST, SECOND, THIRD = (
    queue_name(PREPROCESS),
    queue_name(INFERENCE, host="testhost"),
    queue_name(RESULTS),
)
FLOW = [
    (PREPROCESS, INFERENCE, SECOND),
    (INFERENCE, RESULTS, THIRD),
]
INC, UID = samples.INCARNATION, samples.JOB_UID
A = WorkerIdentity("preprocess", "a", "testhost", pid=1, nonce="a")
B = WorkerIdentity("inference", "b", "testhost", pid=2, nonce="b")


def connect_to(url: str, lease_seconds: float = LEASE_SECONDS) -> Ledger:
    chosen = samples.settings(Path("/nowhere"), url)
    return connect_ledger(chosen.model_copy(update={"lease_seconds": lease_seconds}))


def feed(ledger: Ledger, first: int = 0, end: int = 1, **options: int) -> list[ChunkRef]:
    return ledger.feed(INC, UID, first, end, **{"bound": 100, **options})[1]


def stale(action: Callable[[], object]) -> str:
    with pytest.raises(Stale) as caught:
        action()
    return caught.value.reason


def take_to(ledger: Ledger, ref: ChunkRef, stage: Stage, worker: WorkerIdentity = A) -> None:
    """From queued(preprocess) to held(stage)."""
    for here, following, queue in FLOW:
        ledger.claim(ref, here, worker)
        if here == stage:
            return
        ledger.advance(ref, here, worker, following, queue)
    ledger.claim(ref, RESULTS, worker)


def lose(ledger: Ledger, ref: ChunkRef, *, on_trial: int | None = None) -> list[ChunkRef]:
    """Its holder dies, perhaps while it runs an item alone. What is rescued at once."""
    ledger.claim(ref, PREPROCESS, A)
    if on_trial is not None:
        ledger.mark_running_alone(ref, PREPROCESS, A, on_trial)
    ledger.depart(INC, A)
    return ledger.rescue_held(INC)
