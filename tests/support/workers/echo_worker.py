"""A worker of any role that does nothing with a chunk: real Celery, ledger and quarantine.

Arguments: the role; then, where wanted, how many dead letters the broker keeps, and their bytes.
"""

import sys

from shared.broker.dead_letters import LIMITS, Limits
from shared.messages import Batch, Chunk, Message, Result
from shared.stages import INFERENCE, PREPROCESS, RESULTS, STAGES, Stage
from workers.celery_worker import run_worker
from workers.runtime import Done, Forward, Outcome

# A stage without workers.
NOWHERE = Stage("nowhere", role="nobody", task=RESULTS.task)
TAKES: dict[str, type[Message]] = {
    PREPROCESS.name: Chunk,
    INFERENCE.name: Batch,
    RESULTS.name: Result,
}


def finish(_: Message, _losses: int) -> Outcome:
    """What the last stage says."""
    return Done({"ok": 1})


def pass_on(message: Message, _losses: int) -> Outcome:
    """What a stage before it says."""
    return Forward(NOWHERE, message)


if __name__ == "__main__":
    role, *numbers = sys.argv[1:]
    limits = Limits(*map(int, numbers)) if numbers else LIMITS
    stage = next(stage for stage in STAGES.values() if stage.role == role)
    function = finish if stage == RESULTS else pass_on
    sys.exit(
        run_worker(
            stage,
            TAKES[stage.name],
            concurrency=2,
            setup=lambda _: function,
            dead_letter_limits=limits,
        )
    )
