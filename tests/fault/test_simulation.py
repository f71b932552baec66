"""Seeds of the simulation, each of which says how to replay it alone where it fails."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation import valkey
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.play import simulate
from tests.simulation.world import World

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.timeout(3600)
def test_no_seed_loses_doubles_or_mixes_up_a_row(full: bool) -> None:
    seeds = 10_000 if full else 1_000
    command = [sys.executable, "-m", "tests.simulation", f"--seeds={seeds}", "--processes=2"]
    played = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(played.stdout)
    assert played.returncode == 0, played.stdout + played.stderr


def test_a_seed_that_was_played_leaves_nothing_behind() -> None:
    """A process plays thousands of them."""
    for seed in range(3):
        simulate(seed)
    valkey.collect_garbage()
    gc.collect()
    assert [thing for thing in gc.get_objects() if type(thing) is World] == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_knows_the_sources(mutant: Mutant, tmp_path: Path) -> None:
    """One that changes nothing would be found by no seed, and prove nothing."""
    one: Mutant | None = mutant
    while one is not None:
        (tmp_path / one.file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / one.file).write_bytes((ROOT / one.file).read_bytes())
        one = one.also
    mutant.apply(tmp_path)
