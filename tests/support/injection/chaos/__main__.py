"""``python -m tests.support.injection.chaos --minutes 10 --seed 1``: a line an event, then a table.

Exits with 0 if every image of every job is accounted for and every job has ended in time.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import botocore.exceptions
import redis

from tests.support.injection.chaos.faults import Faults
from tests.support.injection.chaos.jobs import Jobs
from tests.support.injection.table import Line
from tests.support.stack import Stack

PAUSE_SECONDS = (0.5, 4.0)
LOOK_SECONDS = 0.5
# How long the jobs that are open at the last fault may take.
END_SECONDS = 300.0
# What an event may meet while the broker or the store is away: it is said, and changes nothing.
TROUBLE = (
    AssertionError,
    OSError,
    redis.RedisError,
    subprocess.TimeoutExpired,
    botocore.exceptions.BotoCoreError,
    botocore.exceptions.ClientError,
)


class Chaos:
    """One run: ``rage`` for some time, then ``settle`` and ``judge``."""

    def __init__(self, stack: Stack, jobs: Jobs, seed: str) -> None:
        self.jobs, self._faults, self._seed = jobs, Faults(stack, jobs), seed
        self._began = time.monotonic()
        self.given: Counter[str] = Counter()

    def rage(self, seconds: float) -> None:
        """Give faults, one after another, each drawn from the seed and its number alone."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._look_for(self._draw("pause").uniform(*PAUSE_SECONDS))
            self._try("enqueued", partial(self.jobs.enqueue, self._draw("job")))
            draw = self._draw("fault")
            name, strike = self._faults.choose(draw)
            self.given[name] += 1
            self._try(name, partial(strike, draw))

    def _draw(self, what: str) -> random.Random:
        return random.Random(f"{self._seed} {what} {self.given.total()}")

    def settle(self) -> list[str]:
        """Let every job come to its end. Returns those that do not."""
        self._faults.thaw()
        self.say(f"no more faults; open: {len(self.jobs.open)}")
        deadline = time.monotonic() + END_SECONDS
        while self.jobs.open and time.monotonic() < deadline:
            self._look_for(LOOK_SECONDS)
        return [f"{job.job_id}: not ended within {END_SECONDS:.0f} s" for job in self.jobs.open]

    def end(self) -> None:
        """Leave nothing frozen behind."""
        self._faults.thaw()

    def judge(self) -> tuple[Line, list[str]]:
        """The sum over all jobs, and what is wrong."""
        line, wrong = Line("chaos"), []
        for job in self.jobs.all:
            if job.state == "open":
                continue
            verdict, problems = self.jobs.judge(job)
            line.add(verdict, job.worst_pause_seconds)
            if job.is_partial:  # the rest of its objects is not missing
                line.images += verdict.rows - verdict.objects
            wrong += problems
        return line, wrong

    def _look_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with suppress(*TROUBLE):
                self.jobs.look()
            time.sleep(LOOK_SECONDS)

    def _try(self, name: str, event: Callable[[], str]) -> None:
        try:
            did = event()
        except TROUBLE as error:
            did = f"failed: {' '.join(str(error).split())[:200]}"
        if did:
            self.say(f"{name}: {did}")

    def say(self, text: str) -> None:
        """A line of progress."""
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", file=sys.stderr, flush=True)


@contextmanager
def own_stack() -> Iterator[tuple[Stack, Path]]:
    """A stack in a home of its own, with its folder of plugins; it ends with the body."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        plugins = Path(folder) / "plugins"
        plugins.mkdir()
        stack = Stack(Path(folder) / "home", {"HEADRACE_PLUGINS": str(plugins)})
        try:
            stack.run("up")
            stack.run("models", "pull", "mobilenet_v2", timeout=300)
            yield stack, plugins
        finally:
            stack.run("down", check=False)


def table(chaos: Chaos, line: Line, wrong: list[str]) -> str:
    """What was done and what came of it, as Markdown."""
    faults = [f"| {name} | {count} |" for name, count in sorted(chaos.given.items())]
    head = "| jobs | images | rows | lost | doubled | strangers | worst pause, s |"
    ruler = "|--:|--:|--:|--:|--:|--:|--:|"
    counts = (line.runs, line.images, line.rows, line.lost, line.doubled, line.strangers)
    row = f"| {' | '.join(map(str, counts))} | {line.worst_recovery_seconds or 0} |"
    states = Counter(job.state for job in chaos.jobs.all)
    ended = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    parts = ["| fault | times |", "|---|--:|", *faults, "", head, ruler, row, "", ended, *wrong]
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    """Run, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.injection.chaos")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", required=True)
    options = parser.parse_args(arguments)
    try:
        with own_stack() as (stack, plugins):
            jobs = Jobs(stack, plugins)
            jobs.put_images()
            chaos = Chaos(stack, jobs, options.seed)
            chaos.say(f"seed {options.seed}, {options.minutes:g} minutes")
            try:
                chaos.rage(60 * options.minutes)
                late = chaos.settle()
            finally:
                chaos.end()
            line, wrong = chaos.judge()
    except KeyboardInterrupt:
        return 130
    wrong += late
    print(table(chaos, line, wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
