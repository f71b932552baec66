"""The message that goes on: a batch, and what was found of its images."""

from __future__ import annotations

import time

import pyarrow as pa

from shared.answers import answer_schema, fitting, good_rows, with_answers
from shared.job import EngineUsed
from shared.messages import Batch, Result, Timings
from shared.stages import INFERENCE
from workers.inference.answering import Answers
from workers.inference.submission import InferenceResult


def result_of(batch: Batch, found: Answers) -> Result:
    """The batch's answers with those of its good images, or their failures."""
    schema = answer_schema(batch.pipeline, INFERENCE)
    rows = good_rows(batch.answers).to_pylist()
    names = batch.pipeline.network_analyses
    columns = {name: found.columns.get(name) for name in names}
    answers = with_answers(
        batch.answers,
        schema,
        {
            name: pa.nulls(len(rows), schema.field(name).type) if column is None else column
            for name, column in columns.items()
        },
        {rows[image]: failure for image, failure in found.failures.items()},
    )
    timings = _timings(batch.timings, found.runs)
    engines = {name: found.engines.get(name) for name in names}
    return batch.onward(
        Result,
        answers=fitting(answers),
        computed={
            name: EngineUsed(**engine.engine_fields()) if engine else None
            for name, engine in engines.items()
        },
        scored_at=timings.device_ended_at or time.time(),
        timings=timings,
    )


def _timings(before: Timings, runs: list[InferenceResult]) -> Timings:
    if not runs:
        return before
    first = min(runs, key=lambda run: run.started_at)
    return before.model_copy(
        update={
            "device_wait_seconds": first.wait_seconds,
            "device_seconds": sum(run.device_seconds for run in runs),
            "device_started_at": first.started_at,
            "device_ended_at": max(run.ended_at for run in runs),
        }
    )
