"""The stages that a chunk passes, one row each, and the names of their queues.

A new stage is a row here, a role in ``producer/stack/roles.py`` and a package of its own in
``workers/``. ``python -m shared.stages --json`` prints the table.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from shared.environment import settle

if __name__ == "__main__":
    settle()

# Stands for the messages and for the layout of the ledger. When either changes, so does this: the
# queues get other names, so workers of two versions can run side by side, and the next producer to
# lead begins the ledger again from the bucket.
VERSION = "v6"

# In order of priority: what is interactive goes first.
Lane = Literal["interactive", "bulk"]
LANES: tuple[Lane, ...] = get_args(Lane)


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a chunk's route.

    ``role``: the kind of process that takes its messages.
    ``task``: the Celery task that such a message is for.
    ``per_host``: each host has queues of its own, because pixels lie there.
    ``long``: a chunk may stay for hours; losing its holder says nothing against its items.
    ``writes_pixels``: a chunk's pixels are put into a slot or a parcel here.
    ``reads_pixels``: they are read here, and then dropped.
    ``last``: a chunk is done after it. Exactly one stage is.
    """

    name: str
    role: str
    task: str
    per_host: bool = False
    long: bool = False
    writes_pixels: bool = False
    reads_pixels: bool = False
    last: bool = False


PREPROCESS = Stage("preprocess", role="preprocess", task="headrace.preprocess", writes_pixels=True)
INFERENCE = Stage(
    "inference", role="inference", task="headrace.inference", per_host=True, reads_pixels=True
)
RESULTS = Stage("results", role="collector", task="headrace.results", last=True)

# By name, in the order of the flow.
STAGES: dict[str, Stage] = {stage.name: stage for stage in (PREPROCESS, INFERENCE, RESULTS)}

# The role that feeds the first stage. It serves none.
PRODUCER_ROLE = "producer"


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """One queue, and the stage whose messages it carries."""

    name: str
    stage: Stage
    lane: Lane


def queue_name(stage: Stage, lane: Lane = "bulk", host: str = "") -> str:
    """The name of a stage's queue of one lane. ``host``: needed where a stage is ``per_host``."""
    if stage.per_host != bool(host):
        raise ValueError(f"stage {stage.name} has {'a' if stage.per_host else 'no'} queue per host")
    name = f"{VERSION}.{stage.name}.{lane}"
    return f"{name}.{host}" if stage.per_host else name


def lane_of_queue(queue: str) -> Lane:
    """The lane of one of our stages' queues."""
    return next(lane for lane in LANES if lane == queue.split(".")[2])


def host_of_queue(queue: str) -> tuple[Stage, str] | None:
    """The stage and the host that a queue is of; None for stages without queues per host."""
    version, name, _, host = [*queue.split(".", 3), "", "", ""][:4]
    stage = STAGES.get(name)
    if version != VERSION or stage is None or not (stage.per_host and host):
        return None
    return stage, host


def last_stage() -> Stage:
    """The stage after which a chunk is done."""
    (stage,) = (stage for stage in STAGES.values() if stage.last)
    return stage


def stage_queues(stage: Stage, host: str) -> tuple[str, ...]:
    """The names of the queues that a stage's workers of a host consume, in order of priority."""
    return tuple(queue_name(stage, lane, host if stage.per_host else "") for lane in LANES)


def queues(host: str) -> Iterator[QueueInfo]:
    """Every queue that workers of a host consume, in the order of the flow and of priority."""
    for stage in STAGES.values():
        for name, lane in zip(stage_queues(stage, host), LANES, strict=True):
            yield QueueInfo(name, stage, lane)


if __name__ == "__main__":
    if sys.argv[1:] != ["--json"]:
        sys.exit("usage: python -m shared.stages --json")
    print(json.dumps([asdict(stage) for stage in STAGES.values()], indent=2))  # noqa: T201
