"""A task that raises where nothing should: its chunk comes back, though its worker lives."""

from __future__ import annotations

import random

import pytest

from tests.support.injection.extent import FULL
from tests.support.injection.fingerprints import Fingerprints
from tests.support.injection.places import PLACES, Places
from tests.support.injection.table import Line, note
from tests.support.stack import Stack

RAISED = ("builtins.RuntimeError", "builtins.MemoryError", "builtins.SystemExit")
# One of each role: within a stage, between the ledger and the broker, and outside of both.
IN_TURN = (
    ("half staged", "inferred and not answered", "result claimed"),
    ("batch recorded and not sent", "batch claimed", "chunk file written and not recorded"),
    ("chunk claimed", "result recorded and not sent", "chunk recorded and not acked"),
)


@pytest.mark.parametrize("places_raising", IN_TURN if FULL else IN_TURN[:1], ids=" + ".join)
def test_a_chunk_comes_back_though_its_worker_lives(
    stack: Stack,
    places: Places,
    fingerprints: Fingerprints,
    places_raising: tuple[str, ...],
    draw: random.Random,
) -> None:
    line = Line("A task ends without its ledger step: an exception at " + ", ".join(places_raising))
    workers = {role: stack.pids(role) for role in ("preprocess", "inference", "collector")}
    first = draw.randrange(len(RAISED))
    for shift in range(len(RAISED) if FULL else 1):
        for number, place in enumerate(places_raising):
            exception = RAISED[(first + shift + number) % len(RAISED)]
            passing = draw.randrange(PLACES[place].calls)
            places.arm(place, "raise", exception=exception, passing=passing)
        job = fingerprints.enqueue()
        for place in places_raising:
            assert places.struck(place) in workers[PLACES[place].role]
        fingerprints.check(job, line)
    assert {role: stack.pids(role) for role in workers} == workers
    note(line)
