"""A worker of a stage that the product does not know, with a role and a message type of its own.

It would stand between preprocess and results. ``python -m tests.integration.planted_worker`` runs
one worker; with the argument ``long`` its stage is long.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from pydantic import Field

from shared.messages import Chunk, Item, Message, Result, ResultItem, Timings
from shared.stages import RESULTS, STAGES, Stage
from workers.celery_worker import run_worker
from workers.runtime import Forward, GiveBack, Outcome, Runtime, StageFunction

# The job whose chunks are held until the worker stops.
HELD_JOB = "hold"


class Inspection(Message):
    """preprocess -> inspection: look at these, with care."""

    bucket: str
    looked_at: list[Item] = Field(min_length=1)
    care: int

    def as_chunk(self) -> Chunk:
        """The message that was preprocessed."""
        return self.onward(Chunk, bucket=self.bucket, items=self.looked_at)


def planted_stage(*, long: bool = False) -> Stage:
    """The row that a new stage adds to the table."""
    stage = Stage("inspection", role="inspector", task="headrace.inspection")
    return replace(stage, long=long)


def setup(runtime: Runtime) -> StageFunction:
    """The stage's function."""

    def inspect(message: Inspection, _losses: int) -> Outcome:
        if message.job_id == HELD_JOB:
            runtime.stopping.wait()
            return GiveBack()
        result = message.onward(
            Result,
            items=[ResultItem(item=item) for item in message.looked_at],
            engine=None,
            precision=None,
            device=None,
            timings=Timings(),
        )
        return Forward(RESULTS, result)

    return inspect


if __name__ == "__main__":
    stage = planted_stage(long="long" in sys.argv)
    STAGES[stage.name] = stage
    sys.exit(run_worker(stage, Inspection, concurrency=1, setup=setup))
