"""``python -m tests.simulation --seeds 1000``, or ``--seed 17`` for the story of one."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections import Counter
from multiprocessing import Pool

from tests.simulation.play import Outcome, simulate


def main() -> int:
    """Exit code 1 where a seed is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--seeds", type=int, help="how many to play")
    chosen.add_argument("--seed", type=int, help="play this one and tell its story")
    parser.add_argument("--first", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--until-wrong", action="store_true", help="end at the first wrong one")
    given = parser.parse_args()
    if given.seed is not None:
        outcome = simulate(given.seed, tells=True)
        print(_described(outcome))
        return 1 if outcome.wrong else 0
    seeds = range(given.first, given.first + given.seeds)
    return _play(seeds, given.processes, until_wrong=given.until_wrong)


def _play(seeds: range, processes: int, *, until_wrong: bool) -> int:
    started, played, wrong, seconds = time.monotonic(), 0, 0, 0.0
    rows: Counter[bool] = Counter()
    gc.freeze()  # what is imported stays, and need not be looked at again and again
    with Pool(processes) as pool:
        for outcome in pool.imap_unordered(simulate, seeds, chunksize=4):
            played, seconds = played + 1, seconds + outcome.seconds
            rows["ambiguous" in outcome.faults] += outcome.rows
            if outcome.wrong:
                wrong += 1
                print(_described(outcome), flush=True)
                if until_wrong:
                    break
    took = time.monotonic() - started
    print(
        f"{played} seeds, {wrong} wrong, in {took:.0f} s: {played / took * 60:.0f} seeds a minute, "
        f"{seconds / 3600:.1f} simulated hours, {rows.total()} rows, of which {rows[True]} with "
        "ambiguous answers to every kind of call"
    )
    return 1 if wrong else 0


def _described(outcome: Outcome) -> str:
    faults = ", ".join(outcome.faults) or "no faults"
    lines = [f"seed {outcome.seed}: {faults}: {outcome.rows} rows, {outcome.seconds:.1f} s"]
    lines += [f"  WRONG: {text}" for text in outcome.wrong]
    if outcome.wrong:
        lines.append(f"  replay: make simulate SEED={outcome.seed}")
    return "\n".join(lines)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of a seed's story
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    sys.exit(main())
