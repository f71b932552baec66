"""A worker of the planted stage, whose role, queues and message the product does not know.

It stands between preprocess and results. ``python -m tests.support.workers.planted_worker`` runs
one worker; with the argument ``long`` its stage is long.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import Any

import redis

from shared.answers import all_failed, answer_schema
from shared.errors import ItemErrorCode
from shared.item import ItemFailure
from shared.messages import Result, Timings
from shared.settings import Settings
from shared.stages import INFERENCE, RESULTS, STAGES
from shared.storage import resolve_store
from tests.support.planted_stage import BRUSH_KEY, COLOUR_KEY, HELD_JOB, STAGE, Drawing
from workers.celery_worker import run_worker
from workers.runtime import Forward, GiveBack, Outcome, Runtime, StageFunction

NOT_COMPUTED = ItemFailure(error_code=ItemErrorCode.MODEL_ERROR, error_message="It was only drawn.")


def draw_picture(settings: Settings, message: Drawing, bucket: str) -> None:
    """Use what only the role's own rights allow, at the broker and at the store."""
    broker: Any
    with redis.Redis.from_url(settings.broker_url) as broker:
        colour = broker.get(COLOUR_KEY)
    brush = resolve_store(settings, settings.models_bucket).get(settings.models_bucket, BRUSH_KEY)
    resolve_store(settings, bucket).put(bucket, message.picture_key(), brush + colour)


def setup(runtime: Runtime) -> StageFunction:
    """The stage's function."""

    def draw(message: Drawing, _losses: int) -> Outcome:
        if message.job_id == HELD_JOB:
            runtime.stopping.wait()
            return GiveBack()
        if message.pictures is not None:
            draw_picture(runtime.settings, message, message.pictures)
        pipeline = message.pipeline
        result = message.onward(
            Result,
            answers=all_failed(
                len(message.to_draw), answer_schema(pipeline, INFERENCE), NOT_COMPUTED
            ),
            computed=dict.fromkeys(pipeline.network_analyses),
            scored_at=time.time(),
            timings=Timings(),
        )
        return Forward(RESULTS, result)

    return draw


if __name__ == "__main__":
    stage = replace(STAGE, long="long" in sys.argv)
    STAGES[stage.name] = stage
    sys.exit(run_worker(stage, Drawing, concurrency=1, setup=setup))
