"""``python -m tests.simulation --seeds 1000``, or ``--seed 17`` for the story of one."""

from __future__ import annotations

import argparse
import os
import sys
import time
from multiprocessing import Pool

from tests.simulation.world import Outcome, simulate


def main() -> int:
    """Exit code 1 where a seed is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--seeds", type=int, help="how many to play")
    chosen.add_argument("--seed", type=int, help="play this one and tell its story")
    parser.add_argument("--first", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    given = parser.parse_args()
    if given.seed is not None:
        return _report(simulate(given.seed, tells=True))
    started, rows, seconds, wrong = time.monotonic(), 0, 0.0, 0
    with Pool(given.processes) as pool:
        seeds = range(given.first, given.first + given.seeds)
        for outcome in pool.imap_unordered(simulate, seeds, chunksize=10):
            rows, seconds = rows + outcome.rows, seconds + outcome.seconds
            wrong += _report(outcome) if outcome.wrong else 0
    took = time.monotonic() - started
    print(
        f"{given.seeds} seeds, {wrong} wrong: {rows} rows and {seconds / 3600:.1f} simulated hours"
        f" in {took:.0f} s, {given.seeds / took * 60:.0f} seeds a minute"
    )
    return 1 if wrong else 0


def _report(outcome: Outcome) -> int:
    print(f"seed {outcome.seed}: {', '.join(outcome.faults) or 'no faults'}: ", end="")
    print(f"{outcome.rows} rows, {outcome.seconds:.1f} s simulated")
    for text in outcome.wrong:
        print(f"  WRONG: {text}")
    if outcome.wrong:
        print(f"  replay: make simulate SEED={outcome.seed}")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of a seed's story
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    sys.exit(main())
