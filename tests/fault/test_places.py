"""SIGKILL at named places in the work of real processes: one row for each image, wherever it is."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.injection.extent import FULL, SEED
from tests.support.injection.fingerprints import Fingerprints
from tests.support.injection.places import PLACES, Places
from tests.support.injection.table import Line, note
from tests.support.stack import Stack

JOBS = 2
ROLES = ("producer", "preprocess", "inference", "collector")
# A place that is on the way only after another kill.
CAUSES = {"rescue recorded and not resent": "half staged"}


@pytest.fixture(scope="module")
def fingerprints(stack: Stack, plugins: Path) -> Fingerprints:
    """A job in which every place has as many calls as it says."""
    made = Fingerprints(stack, plugins, "places", images=192)
    made.learn()
    return made


def cases() -> list[tuple[str, ...]]:
    """What is armed in one job: each place alone, or else drawn ones, one of every role."""
    if FULL:
        return [tuple(filter(None, (CAUSES.get(place), place))) for place in PLACES]
    draw = random.Random(SEED)
    of_role = [
        draw.sample([name for name, place in PLACES.items() if place.role == role], JOBS)
        for role in ROLES
    ]
    return [with_causes(names) for names in zip(*of_role, strict=True)]


def with_causes(names: tuple[str, ...]) -> tuple[str, ...]:
    causes = {PLACES[CAUSES[name]].role: CAUSES[name] for name in names if name in CAUSES}
    return tuple(causes.get(PLACES[name].role, name) for name in names)


def passings(places: tuple[str, ...], draw: random.Random) -> list[dict[str, int]]:
    """How many calls of each place to let pass, for each job: in full also the first, the last."""
    last = {place: PLACES[place].calls - 1 for place in places}
    chosen = [{place: draw.randint(0, last[place]) for place in places}]
    if FULL:
        chosen += [dict.fromkeys(places, 0), last]
    return [passing for at, passing in enumerate(chosen) if passing not in chosen[:at]]


@pytest.mark.parametrize("struck", cases(), ids=" + ".join)
def test_kills_at_named_places_leave_one_row_for_each_image(
    places: Places, fingerprints: Fingerprints, struck: tuple[str, ...], draw: random.Random
) -> None:
    line = Line("SIGKILL at: " + ", ".join(f"{place} ({PLACES[place].role})" for place in struck))
    for passing in passings(struck, draw):
        print(f"\n{passing}")
        for place in struck:
            places.arm(place, passing=passing[place])
        job = fingerprints.enqueue()
        for place in struck:
            places.struck(place)
        fingerprints.check(job, line)
    note(line)
