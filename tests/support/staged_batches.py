"""Batches whose pixels lie in real slots, as preprocessing leaves them, and what became of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from shared.errors import ItemErrorCode
from shared.item import ItemFailure
from shared.ledger import ChunkRef
from shared.messages import Batch, Parcel, Result, Slot, Timings
from shared.pipeline import Pipeline
from shared.pixels import Pixels
from shared.stages import PREPROCESS, RESULTS
from shared.staging import StagingRing
from shared.staging.pixel_layout import PixelLayout
from tests.support.samples import INCARNATION, JOB_UID, answers, pipeline
from workers.runtime import Forward, GiveBack

PIXELS = 4
CORRUPT = ItemFailure(error_code=ItemErrorCode.CORRUPT, error_message="It is damaged.")
PIPELINE = pipeline(
    preprocess={"resize_shorter_pixels": PIXELS, "crop_pixels": PIXELS}, postprocess={"top_k": 1}
)


def staged(
    ring: StagingRing, *firsts: int | None, chunk: int = 1, pipeline: Pipeline = PIPELINE
) -> Batch:
    """A batch of images filled with ``firsts``, staged as preprocessing does; None failed."""
    good = [first for first in firsts if first is not None]
    slot = None
    if good:
        ref = ChunkRef(INCARNATION, JOB_UID, chunk, 1)
        hold = ring.take(1, ref, staged=lambda refs: [False for _ in refs], stopping=lambda: False)
        pixels = pixels_of(pipeline, *good)
        hold.pixels[: pixels.size] = pixels
        hold.release()
        slot = Slot(host_id="here", index=hold.index, images=len(good))
    rows = [
        CORRUPT if first is None else {"width": 40 + n, "warning": "damaged_data"}
        for n, first in enumerate(firsts)
    ]
    return batch_of(answers(pipeline, PREPROCESS, *rows), slot, chunk, pipeline)


def pixels_of(pipeline: Pipeline, *firsts: int) -> Pixels:
    """Images of which each is filled with one value, in all views, as a slot has them."""
    layout = PixelLayout(pipeline.staged_views, len(firsts))
    pixels = np.empty(layout.total_bytes, np.uint8)
    for view in range(len(pipeline.staged_views)):
        layout.array(pixels, view)[:] = np.array(firsts, np.uint8)[:, None, None, None]
    return pixels


def batch_of(
    about: pa.RecordBatch,
    where: Slot | Parcel | None,
    chunk: int = 1,
    pipeline: Pipeline = PIPELINE,
) -> Batch:
    """A batch of these items, whose pixels are there."""
    return Batch(
        incarnation=INCARNATION,
        job_id="job",
        job_uid=JOB_UID,
        chunk=chunk,
        attempt=1,
        pipeline=pipeline,
        bucket="photos",
        answers=about,
        keys=[f"{n}.jpg" for n in range(len(about))] if pipeline.has_class else [],
        staged=where,
        timings=Timings(decode_seconds=2.5),
    )


def result_of(outcome: Forward | GiveBack) -> Result:
    """The result that went on, checked as the collector does."""
    assert isinstance(outcome, Forward)
    assert outcome.stage == RESULTS
    assert isinstance(outcome.message, Result)
    return Result.model_validate_json(outcome.message.model_dump_json())


def labels(result: Result) -> list[str]:
    """Each item's label, or its error code."""
    rows = result.answers.to_pylist()
    return [row["error_code"] or row["classes"]["predictions"][0]["label"] for row in rows]


def messages(result: Result) -> list[str | None]:
    """Why each item failed."""
    said: list[str | None] = result.answers["error_message"].to_pylist()
    return said


def slot_is_free(ring: StagingRing) -> bool:
    """Free without a word from the ledger: its reader cleared it."""
    hold = ring.take(
        1,
        ChunkRef("x" * 16, "y" * 16, 0, 1),
        staged=lambda refs: [True for _ in refs],
        stopping=lambda: False,
    )
    hold.abandon()
    return True
