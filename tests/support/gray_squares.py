"""Gray squares in a store, a ring of two small slots, and the preprocess stage between them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from shared.errors import TransientError
from shared.item import Item
from shared.ledger import ChunkRef
from shared.messages import Batch, Chunk, Result, Slot
from shared.pipeline import Pipeline
from shared.settings import RingSettings
from shared.stages import INFERENCE
from shared.staging import NetworkStaging, StagingRing, WriteHold, create_ring, open_ring
from tests.support.fake_network import Parcels
from tests.support.fake_store import FakeStore
from tests.support.pictures import encoded, picture
from tests.support.samples import INCARNATION, JOB_UID, pipeline
from workers.preprocess.fetch import Fetcher
from workers.preprocess.routes import Routes
from workers.preprocess.stage import PreprocessStage
from workers.runtime import Forward, GiveBack

CROP = 8
IMAGE_BYTES = CROP * CROP * 3
PIPELINE = pipeline(preprocess={"resize_shorter_pixels": CROP, "crop_pixels": CROP})
SLOTS = 2


def small_ring(directory: Path) -> StagingRing:
    """Slots for four images each."""
    settings = RingSettings(
        directory=directory / "ring", slot_bytes=(4 * IMAGE_BYTES,), slot_counts=(SLOTS,)
    )
    create_ring(settings)
    return open_ring(settings, "here")


def all_staged(refs: list[ChunkRef]) -> list[bool]:
    return [True for _ in refs]


def nothing_staged(refs: list[ChunkRef]) -> list[bool]:
    return [False for _ in refs]


def gray_squares() -> FakeStore:
    """Squares of one gray each, among which the second cannot be decoded."""
    objects = {
        f"{gray}.png": encoded(picture(CROP, CROP).point([gray] * 768)) for gray in (1, 2, 3)
    }
    return FakeStore({"0.png": b"text", **objects})


def nothing_lost(ref: ChunkRef, item: int | None) -> int:
    return 0


def make_stage(
    store: FakeStore,
    ring: StagingRing,
    stopping: threading.Event | None = None,
    staged: Callable[[list[ChunkRef]], list[bool]] = nothing_staged,
    patience_seconds: float = 10.0,
    note: Callable[[ChunkRef, int | None], int] = nothing_lost,
    network: Parcels | None = None,
    waiting: Callable[[], dict[str, int]] = dict,
) -> PreprocessStage:
    stopping = stopping or threading.Event()
    fetcher = Fetcher(lambda _: store, stopping, patience_seconds)
    by_network, routes = cast(NetworkStaging, network), Routes("here", waiting)
    return PreprocessStage(fetcher, ring, by_network, routes, staged, note, stopping)


def chunk(items: list[Item], number: int = 1, pipeline: Pipeline = PIPELINE) -> Chunk:
    return Chunk(
        incarnation=INCARNATION,
        job_id="job",
        job_uid=JOB_UID,
        chunk=number,
        attempt=1,
        pipeline=pipeline,
        bucket="photos",
        items=items,
    )


def batch_of(outcome: Forward | GiveBack, host: str = "here") -> Batch:
    assert isinstance(outcome, Forward)
    assert outcome.stage == INFERENCE
    assert outcome.host == host
    assert isinstance(outcome.message, Batch)
    return Batch.model_validate_json(outcome.message.model_dump_json())


def codes(message: Batch | Result) -> list[str | None]:
    return column(message, "error_code")


def column(message: Batch | Result, name: str) -> list[Any]:
    """A column of the answers, with an entry for each item."""
    found: list[Any] = message.answers[name].to_pylist()
    return found


def sizes(batch: Batch) -> list[tuple[int, int]]:
    """Widths and heights, of the items that have them."""
    sides = zip(column(batch, "width"), column(batch, "height"), strict=True)
    return [size for size in sides if None not in size]


def rows(ring: StagingRing, batch: Batch) -> np.ndarray:
    """What inference finds, each row as its one gray. Frees the slot."""
    assert isinstance(batch.staged, Slot)
    hold = ring.read(batch.staged, batch.ref)
    pixels = hold.pixels[: batch.staged.images * IMAGE_BYTES]
    pixels = pixels.reshape(batch.staged.images, -1).copy()
    hold.release()
    assert np.all(pixels == pixels[:, :1])
    return pixels[:, 0]


def all_slots_are_free(ring: StagingRing) -> bool:
    """Can every slot be taken at the first try, where the ledger wants to keep all it knows?"""
    held: list[WriteHold] = []
    try:
        for number in range(SLOTS):
            ref, turns = ChunkRef(INCARNATION, JOB_UID, 100 + number, 9), iter((False, True))
            held.append(ring.take(1, ref, staged=all_staged, stopping=partial(next, turns)))
    except TransientError:
        return False
    finally:
        for hold in held:
            hold.abandon()
    return True
