"""Run in a copy with the plants: images through the analyser and the head, messages and rows.

Prints the rows as JSON, and what was wrong with values out of bounds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shared.analyses import ANALYSES
from shared.answers import about_items, answer_schema, good_rows, problem_of, with_answers
from shared.errors import ItemErrorCode
from shared.item import Item, ItemFailure
from shared.messages import Batch, Chunk, Message, Result, Slot, Timings
from shared.pipeline import view_of
from shared.rows import rows_schema, table_of
from shared.stages import INFERENCE, PREPROCESS
from shared.views.crop import Crop
from tests.support import samples
from workers.inference.heads import head_of
from workers.inference.heads.port import NetworkOutputs
from workers.preprocess.analyses import analyser_of

VIEW = Crop(resize_shorter_pixels=8, crop_pixels=8)
BRIGHTNESS: Any = ANALYSES["brightness"]
PIPELINE = samples.long_pipeline(
    {
        "bright": BRIGHTNESS(kind="brightness", gain=2, view=BRIGHTNESS.own_view),
        "sure": ANALYSES["margin"](kind="margin", model="tiny", view=VIEW),
    },
    (samples.MODEL,),
)
# Of three images the second fails.
LEVELS, SCORES = (0, 102), ([0.1, 0.7, 0.2], [0.5, 0.25, 0.25])
FAILED = {1: ItemFailure(error_code=ItemErrorCode.CORRUPT, error_message="It is damaged.")}


def sent(message: Message) -> Any:
    """The message as its receiver reads it."""
    return type(message).model_validate_json(message.model_dump_json(), strict=True)


def preprocessed(chunk: Chunk) -> Batch:
    """What preprocessing does."""
    analysis = PIPELINE.analyses["bright"]
    width, height = view_of(analysis).canvas
    analyse = analyser_of(analysis.kind)
    found = [analyse(analysis, np.full((height, width, 3), level, np.uint8)) for level in LEVELS]
    schema = answer_schema(PIPELINE, PREPROCESS)
    about = about_items([(9, 9), None, (9, 9)], FAILED, {})
    known = pa.RecordBatch.from_arrays(list(about.values()), names=list(about))
    answers = with_answers(known, schema, {"bright": pa.array(found, pa.float32())}, {})
    slot = Slot(host_id="testhost", index=0, images=len(LEVELS))
    return chunk.onward(Batch, answers=answers, staged=slot, timings=Timings())


def inferred(batch: Batch) -> Result:
    """What inference does."""
    analysis = PIPELINE.analyses["sure"]
    sizes: Sequence[tuple[int, int]] = [(9, 9)] * len(good_rows(batch.answers))
    answered = head_of(analysis.kind).answers(
        analysis, NetworkOutputs({"scores": np.array(SCORES, np.float32)}), (), sizes
    )
    answers = with_answers(
        batch.answers,
        answer_schema(PIPELINE, INFERENCE),
        {"sure": answered.values},
        answered.failures,
    )
    used = {"engine": "torch", "precision": "float32", "device": "cpu"}
    return batch.onward(
        Result, answers=answers, computed={"sure": used}, scored_at=1.5, timings=Timings()
    )


def spoiled(answers: pa.RecordBatch, name: str, value: Any) -> str | None:
    """What is wrong with answers of which one is ``value``."""
    number = answers.schema.get_field_index(name)
    column = pa.array([value, None, value], answers.schema.field(number).type)
    return problem_of(answers.set_column(number, answers.schema.field(number), column), PIPELINE)


def main() -> int:
    """Take a chunk to its rows."""
    head = samples.chunk().model_dump() | {"pipeline": PIPELINE}
    items = [Item(key=f"{n}.jpg", etag="e", size=1) for n in range(3)]
    chunk = sent(Chunk.model_validate({**head, "items": items}))
    assert chunk.pipeline == PIPELINE
    batch = sent(preprocessed(chunk))
    result = sent(inferred(batch))
    listed = pa.Table.from_pylist([item.model_dump() for item in items])
    rows = table_of(result, listed)
    assert rows.schema.equals(rows_schema(PIPELINE))
    answer = {
        "file": str(Path(sys.modules["shared"].__file__ or "").parent),
        "staged_bytes": PIPELINE.staged_image_bytes,
        "columns": batch.answers.schema.names,
        "rows": rows.select(["key", "bright", "sure", "models"]).to_pylist(),
        "problems": [
            spoiled(result.answers, "bright", 2.5),
            spoiled(result.answers, "sure", {"best": 0, "margin": -1.0}),
        ],
        "agrees": head_of("margin")
        .agreement(
            NetworkOutputs({"scores": np.eye(2)}), NetworkOutputs({"scores": np.ones((2, 2))})
        )
        .tolist(),
    }
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
