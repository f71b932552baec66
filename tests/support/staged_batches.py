"""Batches whose pixels lie in real slots, as preprocessing leaves them, and what became of them."""

from __future__ import annotations

from shared.errors import ItemErrorCode
from shared.item import Item, ItemFailure
from shared.ledger import ChunkRef
from shared.messages import Batch, Parcel, Result, Slot, StagedItem, Timings
from shared.stages import RESULTS
from shared.staging import StagingRing
from tests.support.fake_engine import images_of
from tests.support.samples import INCARNATION, JOB_UID, pipeline
from workers.runtime import Forward, GiveBack

PIXELS = 4
CORRUPT = ItemFailure(error_code=ItemErrorCode.CORRUPT, error_message="It is damaged.")
PIPELINE = pipeline(
    preprocess={"resize_shorter_pixels": PIXELS, "crop_pixels": PIXELS}, postprocess={"top_k": 1}
)


def staged(ring: StagingRing, *firsts: int | None, chunk: int = 1) -> Batch:
    """A batch whose images begin with ``firsts``, staged as preprocessing does; None failed."""
    items = [
        StagedItem(
            item=Item(key=f"{n}.jpg", etag="e", size=1),
            width=40 + n,
            failure=CORRUPT if first is None else None,
            warning=None if first is None else "damaged_data",
        )
        for n, first in enumerate(firsts)
    ]
    good = [first for first in firsts if first is not None]
    slot = None
    if good:
        ref = ChunkRef(INCARNATION, JOB_UID, chunk, 1)
        hold = ring.take(1, ref, staged=lambda refs: [False for _ in refs], stopping=lambda: False)
        pixels = images_of(*good, pixels=PIXELS).ravel()
        hold.pixels[: pixels.size] = pixels
        hold.release()
        slot = Slot(host_id="here", index=hold.index, images=len(good))
    return batch_of(items, slot, chunk)


def batch_of(items: list[StagedItem], where: Slot | Parcel | None, chunk: int) -> Batch:
    """A batch of these items, whose pixels are there."""
    return Batch(
        incarnation=INCARNATION,
        job_id="job",
        job_uid=JOB_UID,
        chunk=chunk,
        attempt=1,
        pipeline=PIPELINE,
        bucket="photos",
        items=items,
        staged=where,
        timings=Timings(decode_seconds=2.5),
    )


def result_of(outcome: Forward | GiveBack) -> Result:
    assert isinstance(outcome, Forward)
    assert outcome.stage == RESULTS
    assert isinstance(outcome.message, Result)
    return Result.model_validate_json(outcome.message.model_dump_json())


def labels(result: Result) -> list[str]:
    """Each item's label, or its error code."""
    return [
        i.failure.error_code.value if i.failure else i.predictions[0].label for i in result.items
    ]


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
