"""The real preprocess worker: real broker, ledger, store and ring, and nobody behind it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import redis

from shared.analyses.palette import Palette
from shared.broker.publisher import MessagePublisher
from shared.item import Item
from shared.ledger import Ledger, connect_ledger
from shared.messages import Batch, Chunk, M, Result, Slot
from shared.pipeline import Pipeline
from shared.settings import RingSettings, S3Settings, Settings
from shared.stages import INFERENCE, PREPROCESS, RESULTS, queue_name
from shared.staging import StagingRing, create_ring, open_ring
from shared.storage import Store, connect_store
from tests.support import samples
from tests.support.envelopes import message_in
from tests.support.pictures import encoded, picture
from tests.support.samples import save_settings
from tests.support.servers import start_seaweedfs, start_valkey
from tests.support.waiting import wait_for

PIXELS = 16
IMAGE_BYTES = PIXELS * PIXELS * 3
SLOTS = 2
REPOSITORY = Path(__file__).parents[2]
PIPELINE = samples.pipeline(preprocess={"resize_shorter_pixels": PIXELS, "crop_pixels": PIXELS})
BUCKET = "photos"


@dataclass
class PreprocessHarness:
    """A worker at work, and what stands before and behind it."""

    settings: Settings
    ledger: Ledger
    ring: StagingRing
    publisher: MessagePublisher
    client: redis.Redis
    store: Store
    process: subprocess.Popen[bytes]
    chunks: int = 0

    def send(self, items: list[Item], pipeline: Pipeline = PIPELINE) -> int:
        """Queue a chunk of ``items``. Returns its number."""
        number, self.chunks = self.chunks, self.chunks + 1
        _, (ref,) = self.ledger.feed(
            samples.INCARNATION, samples.JOB_UID, number, number + 1, bound=100
        )
        chunk = Chunk(
            incarnation=samples.INCARNATION,
            job_id="job",
            job_uid=samples.JOB_UID,
            chunk=number,
            attempt=ref.attempt,
            pipeline=pipeline,
            bucket=BUCKET,
            items=items,
        )
        self.publisher.send(PREPROCESS.task, queue_name(PREPROCESS), chunk)
        return number

    def next_batch(self) -> Batch:
        """The next message for inference."""
        return self._next(queue_name(INFERENCE, host="testhost"), Batch)

    def next_result(self) -> Result:
        """The next message for the collector."""
        return self._next(queue_name(RESULTS), Result)

    def _next(self, queue: str, kind: type[M]) -> M:
        wait_for(lambda: self.client.llen(queue), what=kind.__name__, deadline_seconds=60)
        return message_in(self.client.rpop(queue), kind)  # type: ignore[arg-type]


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[PreprocessHarness]:
    home = tmp_path / "worker home"
    valkey, weed = start_valkey(home / "valkey"), start_seaweedfs(home / "weed")
    settings = samples.settings(home, valkey.url).model_copy(
        update={
            "ring": RingSettings(
                directory=home / "ring", slot_bytes=(8 * IMAGE_BYTES,), slot_counts=(SLOTS,)
            ),
            "s3": S3Settings(
                endpoint=weed.endpoint, access_key=weed.access_key, secret_key=weed.secret_key
            ),
        }
    )
    save_settings(settings)
    create_ring(settings.ring)
    ledger = connect_ledger(settings)
    ledger.begin(samples.INCARNATION)
    ledger.register_job(samples.INCARNATION, samples.JOB_UID, "job", samples.FIRST_QUEUE)
    store = connect_store(settings.s3)
    store.make_bucket(BUCKET)
    log = home / "worker.log"
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.preprocess"],
        env={**os.environ, "HEADRACE_HOME": str(home), "HEADRACE_PROCESS": "preprocess-1"},
        stderr=log.open("wb"),
        cwd=REPOSITORY,
    )
    try:
        wait_for(ledger.workers, what="the worker's lease", deadline_seconds=60)
        yield PreprocessHarness(
            settings,
            ledger,
            open_ring(settings.ring, "testhost"),
            MessagePublisher(settings),
            redis.Redis.from_url(valkey.url),
            store,
            process,
        )
    finally:
        process.terminate()
        code = process.wait(30)
        weed.stop()
        valkey.stop()
        assert code == 0, log.read_text()


def upload(harness: PreprocessHarness, objects: dict[str, bytes]) -> list[Item]:
    """Put the objects, and give them as a listing names them, in the order given."""
    for key, data in objects.items():
        harness.store.put(BUCKET, key, data)
    listed = {info.key: info for info in harness.store.list(BUCKET)}
    return [Item(key=key, etag=listed[key].etag, size=listed[key].size) for key in objects]


def test_objects_become_pixels_or_explained_failures(harness: PreprocessHarness) -> None:
    grays = {f"photos/ü {n}#?%.png": encoded(picture().point([n] * 768)) for n in (10, 20)}
    items = upload(
        harness, {"empty": b"", **grays, "text": b"text", "replaced": b"old", "gone": b"-"}
    )
    harness.store.put(BUCKET, "replaced", b"new")
    harness.store.delete(BUCKET, "gone")
    number = harness.send(items)
    batch = harness.next_batch()
    assert batch.chunk == number
    assert batch.answers["error_code"].to_pylist() == [
        *("empty", None, None),
        *("not_an_image", "changed", "missing"),
    ]
    assert batch.answers.slice(1, 1).select(["width", "height"]).to_pylist() == [
        {"width": 64, "height": 48}
    ]
    assert isinstance(batch.staged, Slot)
    assert harness.ledger.still_staged([batch.ref]) == [True]
    hold = harness.ring.read(batch.staged, batch.ref)
    assert np.array_equal(hold.pixels[: 2 * IMAGE_BYTES], np.repeat([10, 20], IMAGE_BYTES))
    hold.release()


def test_palettes_go_to_the_results_with_no_inference_worker_alive(
    harness: PreprocessHarness,
) -> None:
    palettes = samples.long_pipeline({"colours": Palette(view=Palette.own_view)})
    items = upload(harness, {"gray": encoded(picture().point([128] * 768)), "text": b"text"})
    for _ in range(SLOTS + 1):
        harness.send(items, palettes)
    for _ in range(SLOTS + 1):
        result = harness.next_result()
        assert result.answers["error_code"].to_pylist() == [None, "not_an_image"]
        gray = {"hex": "#808080", "share": 1.0, "name": "gray"}
        assert result.answers["colours"].to_pylist() == [[gray], None]
        assert harness.ledger.still_staged([result.ref]) == [False]


def test_a_worker_that_finds_no_free_slot_gives_its_chunks_back_when_told_to_stop(
    harness: PreprocessHarness,
) -> None:
    items = upload(harness, {"a.png": encoded(picture())})
    for _ in range(SLOTS + 2):  # two staged, and two that its two threads wait with
        harness.send(items)
    for _ in range(SLOTS):
        harness.next_batch()
    waiting = wait_for(
        lambda: [w.held for w in harness.ledger.workers() if len(w.held) == 2], what="two held"
    )
    assert len(waiting[0]) == 2
    harness.process.terminate()
    assert harness.process.wait(20) == 0
    assert harness.publisher.ready_length(queue_name(PREPROCESS)) == 2
    assert harness.ledger.queued_count(queue_name(PREPROCESS)) == 2
