"""The stage on real slots: what becomes of items, slots and errors. No broker, no ledger."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from shared.job import EngineUsed
from shared.job_store import JobStore
from shared.ledger import ChunkRef
from shared.messages import Batch, Parcel
from shared.settings import RingSettings
from shared.stages import PREPROCESS
from shared.staging import StagingRing, create_ring, open_ring
from tests.support.fake_engine import POISON, FakeEngine, loop_over
from tests.support.fake_network import Parcels
from tests.support.inference_stages import MakeStage
from tests.support.memory_store import MemoryStore
from tests.support.samples import INCARNATION, JOB_UID, answers
from tests.support.staged_batches import (
    CORRUPT,
    PIPELINE,
    batch_of,
    labels,
    messages,
    pixels_of,
    result_of,
    slot_is_free,
    staged,
)
from workers.inference.analyst import DeviceAnalyst
from workers.inference.errors import HostDied, Miscounted
from workers.inference.model_types import LoadedModel, ModelKey
from workers.inference.pins import JobPins
from workers.inference.stage import InferenceStage
from workers.runtime import GiveBack


def nothing_lost(ref: ChunkRef, item: int | None) -> int:
    return 0


def test_every_item_gets_its_own_answer_and_failed_ones_pass_through(
    ring: StagingRing, engine: FakeEngine, make_stage: MakeStage
) -> None:
    batch = staged(ring, 7, None, 9)
    result = result_of(make_stage(engine)(batch))
    assert labels(result) == ["7", "corrupt", "9"]
    assert result.answers["width"].to_pylist() == [40, None, 42]
    assert messages(result) == [None, CORRUPT.error_message, None]
    assert result.answers["warning"].to_pylist() == ["damaged_data", None, "damaged_data"]
    assert result.ref == batch.ref
    assert result.computed == {
        "classes": EngineUsed(engine="torch", precision="float32", device="fake")
    }
    assert slot_is_free(ring)


def test_timings_ride_along(ring: StagingRing, engine: FakeEngine, make_stage: MakeStage) -> None:
    result = result_of(make_stage(engine)(staged(ring, 1)))
    timings = result.timings
    assert result.scored_at == timings.device_ended_at
    assert timings.decode_seconds == 2.5
    assert 0 < timings.device_seconds < 5
    assert 0 < timings.device_started_at <= timings.device_ended_at


def test_without_pixels_no_model_is_needed(ring: StagingRing, make_stage: MakeStage) -> None:
    def load(key: ModelKey) -> LoadedModel:
        raise AssertionError

    result = result_of(make_stage(load)(staged(ring, None, None)))
    assert labels(result) == ["corrupt", "corrupt"]
    assert result.computed == {"classes": None}


def test_a_slot_that_was_given_on_gives_the_chunk_back(
    ring: StagingRing, engine: FakeEngine, make_stage: MakeStage
) -> None:
    lost = staged(ring, 1, chunk=1)
    staged(ring, 2, chunk=2)
    assert isinstance(make_stage(engine)(lost), GiveBack)
    assert engine.batches == []


def parcelled(parcels: Parcels, *firsts: int, chunk: int = 1) -> Batch:
    """A batch of another host, whose pixels were sent."""
    ref = ChunkRef(INCARNATION, JOB_UID, chunk, 1)
    parcels.put(ref, pixels_of(PIPELINE, *firsts))
    about = answers(PIPELINE, PREPROCESS, *[{} for _ in firsts])
    return batch_of(about, Parcel(images=len(firsts)), chunk)


def test_pixels_from_another_host_are_inferred_as_any_others(
    engine: FakeEngine, make_stage: MakeStage
) -> None:
    parcels = Parcels()
    stage, batch = make_stage(engine, network=parcels), parcelled(parcels, 7, 9)
    assert labels(result_of(stage(batch))) == ["7", "9"]
    assert parcels.sent == {}


def test_a_parcel_that_is_gone_gives_the_chunk_back(
    engine: FakeEngine, make_stage: MakeStage
) -> None:
    parcels = Parcels()
    stage, batch = make_stage(engine, network=parcels), parcelled(parcels, 7)
    parcels.forget(batch.ref)
    assert isinstance(stage(batch), GiveBack)
    assert engine.batches == []


def test_a_server_of_parcels_that_does_not_answer_is_waited_for(
    engine: FakeEngine, make_stage: MakeStage
) -> None:
    parcels = Parcels()
    stage, batch = make_stage(engine, network=parcels), parcelled(parcels, 7)
    parcels.refusals = 3
    assert labels(result_of(stage(batch))) == ["7"]


def test_an_error_is_narrowed_to_the_images_that_raise_alone(
    ring: StagingRing, engine: FakeEngine, make_stage: MakeStage
) -> None:
    result = result_of(make_stage(engine)(staged(ring, 1, POISON, None, 3, POISON)))
    assert labels(result) == ["1", "model_error", "corrupt", "3", "model_error"]
    assert messages(result)[1] == "ValueError: poisoned image"
    assert result.answers["warning"][1].as_py() == "damaged_data"  # which may be why
    used = result.computed["classes"]
    assert used is not None
    assert used.engine == "torch"
    assert slot_is_free(ring)


def test_a_wrong_count_of_outputs_is_told_of_the_whole_batch(
    ring: StagingRing, make_stage: MakeStage
) -> None:
    class Short(FakeEngine):
        def run(self, images):  # type: ignore[no-untyped-def]
            raise Miscounted(f"{len(images) - 1} outputs for {len(images)} images")

    result = result_of(make_stage(Short())(staged(ring, 1, None, 3)))
    assert labels(result) == ["model_error", "corrupt", "model_error"]
    for row in (0, 2):
        said = str(messages(result)[row])
        assert said.startswith("1 outputs for 2 images; for this image alone")


@pytest.mark.parametrize(
    ("error", "runs", "code"),
    [
        (KeyError("no"), 1, "model_error"),
        (Miscounted("2 outputs for 1 image"), 1, "model_error"),
        (HostDied("exit 3"), 2, "killed_worker"),
    ],
)
def test_an_image_that_was_alone_in_its_batch_is_not_narrowed(
    ring: StagingRing, make_stage: MakeStage, error: Exception, runs: int, code: str
) -> None:
    class Raises(FakeEngine):
        def run(self, images):  # type: ignore[no-untyped-def]
            self.batches.append([len(images)])
            raise error

    engine = Raises()
    result = result_of(make_stage(engine)(staged(ring, None, 1)))
    assert labels(result) == ["corrupt", code]
    assert "for this image alone" not in str(messages(result)[1])
    assert len(engine.batches) == runs


def test_answers_that_do_not_fit_into_a_message_fail_alone(
    ring: StagingRing, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Talkative(FakeEngine):
        def run(self, images):  # type: ignore[no-untyped-def]
            return ["x" * 1000 * int(image.flat[0]) for image in images]

    monkeypatch.setattr("shared.answers.MAX_ANSWER_BYTES", 4000)
    result = result_of(make_stage(Talkative())(staged(ring, 1, None, 3, 2)))
    assert [label[:5] for label in labels(result)] == ["xxxxx", "corru", "model", "xxxxx"]


def test_an_error_of_the_batch_alone_fails_nobody(ring: StagingRing, make_stage: MakeStage) -> None:
    class SmallDevice(FakeEngine):
        def run(self, images):  # type: ignore[no-untyped-def]
            if len(images) > 1:
                raise MemoryError
            return super().run(images)

    assert labels(result_of(make_stage(SmallDevice())(staged(ring, 1, 2, 3)))) == ["1", "2", "3"]


def test_neighbours_from_other_chunks_succeed(tmp_path: Path) -> None:
    settings = RingSettings(directory=tmp_path / "many", slot_bytes=(4096,), slot_counts=(3,))
    create_ring(settings)
    ring, engine = open_ring(settings, "here"), FakeEngine()
    loop = loop_over(engine, max_wait_seconds=20, submitters=3)
    pins = JobPins(JobStore(MemoryStore("state"), "state"))
    analyst = DeviceAnalyst(loop, threading.Event())
    stage = InferenceStage(
        *(ring, None, analyst, analyst, pins, nothing_lost, lambda *_: None, threading.Event())
    )
    batches = [staged(ring, n, n + 1, chunk=n) for n in (1, 10)]
    batches.append(staged(ring, POISON, chunk=20))
    results: dict[int, list[str]] = {}

    def work(batch: Batch) -> None:
        results[batch.chunk] = labels(result_of(stage(batch)))

    threads = [threading.Thread(target=work, args=(batch,)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    loop.close()
    assert results == {1: ["1", "2"], 10: ["10", "11"], 20: ["model_error"]}
    assert sorted(engine.batches[0]) == [1, 2, 10, 11, POISON]
