"""``python -m benchmarks.one_chunk``: what a chunk of 64 costs between the stages, step by step.

CPU time of this process in microseconds an image, the median of many rounds. No broker, ledger or
store answers here: ``figures overhead`` measures a whole stack.
"""

from __future__ import annotations

import gc
import json
import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from types import SimpleNamespace
from typing import Any, TypeVar

import pyarrow as pa

from shared.analyses.classes import Classes
from shared.answers import about_items, answer_schema
from shared.broker.signing import sign
from shared.messages import Batch, Chunk, Message, Slot, Timings
from shared.model import Model
from shared.pipeline import Pipeline
from shared.record_batches import encode
from shared.rows import table_of
from shared.stages import INFERENCE, PREPROCESS, RESULTS, Stage, queue_name
from shared.views.crop import Crop
from workers.collector.chunk_file import footer_of
from workers.inference.answering import Answers
from workers.inference.results import result_of
from workers.quarantine.inspection import Contract, inspect

ITEMS = 64
ROUNDS = 500
KEY = "k" * 32
MODEL = "mobilenet_v2"

_T = TypeVar("_T")


class Clock:
    """Adds up, by step, what each round took."""

    def __init__(self) -> None:
        self.rounds: defaultdict[str, list[float]] = defaultdict(list)

    def __call__(self, step: str, action: Callable[[], _T]) -> _T:
        """What the action returns."""
        started = time.process_time_ns()
        answer = action()
        self.rounds[step].append((time.process_time_ns() - started) / 1000 / ITEMS)
        return answer


def pipeline() -> Pipeline:
    """``classify``, as a job has it."""
    model = Model(name=MODEL, sha256="a" * 64, architecture=MODEL, outputs=("scores", "features"))
    view = Crop(resize_shorter_pixels=256, crop_pixels=224)
    return Pipeline(
        name="classify",
        form="short",
        models={MODEL: model},
        analyses={"classes": Classes(model=MODEL, view=view)},
    )


def listed() -> pa.Table:
    """A chunk's items, as the manifest has them."""
    keys = [f"2026/11/photo-{number:06d}.jpg" for number in range(ITEMS)]
    columns = {"key": keys, "etag": ["e" * 32] * ITEMS, "size": [100_000] * ITEMS}
    return pa.table(columns)


def passed(message: Message, stage: Stage, step: str, clock: Clock) -> Any:
    """The message, as the worker of ``stage`` gets it."""
    queue, message_id = queue_name(stage, "bulk", "host" if stage.per_host else ""), "1" * 36

    def sent() -> bytes:
        body = message.model_dump_json()
        signature = sign(KEY, stage.task, queue, message_id, body)
        return json.dumps([[body, signature], {}, {}], ensure_ascii=False).encode()

    raw = clock(f"{step}: send", sent)
    contract = Contract([queue], stage.task, type(message), [KEY])
    headers = {"task": stage.task, "id": message_id}
    kombus = SimpleNamespace(
        headers=headers, body=raw, content_type="application/json", content_encoding="utf-8"
    )
    return clock(f"{step}: receive", lambda: inspect(contract, kombus, queue)[1])


def one_round(spec: Pipeline, items: pa.Table, answer: pa.Array, clock: Clock) -> None:
    """One chunk, from the producer to its rows."""
    head = Message(
        incarnation="1" * 16, job_uid="2" * 16, chunk=7, attempt=1, job_id="job", bucket="photos",
        pipeline=spec,
    )  # fmt: skip
    made = clock("chunk: make", lambda: head.onward(Chunk, items=items.to_pylist()))
    chunk: Chunk = passed(made, PREPROCESS, "chunk", clock)

    def preprocessed() -> Batch:
        schema = answer_schema(chunk.pipeline, PREPROCESS)
        found = about_items([(640, 480)] * ITEMS, {}, {})
        columns = [found[name] for name in schema.names]
        return chunk.onward(
            Batch,
            answers=pa.RecordBatch.from_arrays(columns, schema=schema),
            staged=Slot(host_id="host", index=1, images=ITEMS),
            timings=Timings(),
        )

    batch = passed(clock("batch: make", preprocessed), INFERENCE, "batch", clock)
    found = Answers(columns={"classes": answer})
    result = clock("result: make", lambda: result_of(batch, found))
    result = passed(result, RESULTS, "result", clock)

    def written() -> bytes:
        return footer_of(result).model_dump_json().encode() + encode(result.answers)

    clock("rows: chunk file", written)
    clock("rows: table", lambda: table_of(result, items))


def main() -> None:
    """Print each step, and the sum."""
    spec, items, clock = pipeline(), listed(), Clock()
    analysis = spec.analyses["classes"]
    entry = {
        "class_index": 7,
        "predictions": [{"label": f"class {place}", "score": 0.2} for place in range(5)],
    }
    answer = pa.array([entry] * ITEMS, analysis.answer_type())
    gc.freeze()
    for _ in range(ROUNDS):
        one_round(spec, items, answer, clock)
    total = 0.0
    for step, took in clock.rounds.items():
        total += median(took)
        print(f"{step:18} {median(took):6.2f}")
    print(f"{'in all':18} {total:6.2f}")


if __name__ == "__main__":
    main()
