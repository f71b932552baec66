"""The stage on real slots: what becomes of items, slots and errors. No broker, no ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from shared.errors import ItemErrorCode, TransientError
from shared.job import EngineChoice
from shared.job_store import JobStore
from shared.ledger import ChunkRef
from shared.messages import Batch, Item, Parcel, StagedItem
from shared.settings import RingSettings
from shared.staging import NetworkStaging, StagingRing, create_ring, open_ring
from tests.fake_engine import POISON, FakeEngine, images_of, loop_over
from tests.fake_network import Parcels
from tests.memory_store import MemoryStore
from tests.samples import INCARNATION, JOB_UID, class_model
from tests.staged_batches import (
    CORRUPT,
    PIPELINE,
    PIXELS,
    batch_of,
    labels,
    result_of,
    slot_is_free,
    staged,
)
from workers.inference.device import DeviceLoop
from workers.inference.errors import ClassUnusable, Miscounted, ModelUnusable
from workers.inference.models import LoadedModel, ModelKey
from workers.inference.pins import JobPins
from workers.inference.stage import InferenceStage
from workers.runtime import Forward, GiveBack
from workers.suspects import MOST_LOST_RUNS, SUSPECT_LOSSES


@pytest.fixture
def ring(tmp_path: Path) -> StagingRing:
    settings = RingSettings(directory=tmp_path / "ring", slot_bytes=(4096,), slot_counts=(1,))
    create_ring(settings)
    return open_ring(settings, "here")


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


MakeStage = Callable[..., InferenceStage]


@pytest.fixture
def jobs() -> JobStore:
    return JobStore(MemoryStore("state"), "state")


@pytest.fixture
def stopped() -> list[str]:
    """Why jobs were stopped."""
    return []


@pytest.fixture
def make_stage(
    ring: StagingRing, jobs: JobStore, stopped: list[str], noted: Noted
) -> Iterator[MakeStage]:
    loops: list[DeviceLoop] = []

    def make(
        engine: FakeEngine | Callable[[ModelKey], LoadedModel],
        stopping: threading.Event | None = None,
        network: Parcels | None = None,
    ) -> InferenceStage:
        loops.append(loop_over(engine))
        return InferenceStage(
            *(ring, cast(NetworkStaging, network), loops[-1], JobPins(jobs), noted),
            *(lambda batch, error: stopped.append(error), stopping or threading.Event()),
        )

    yield make
    for loop in loops:
        loop.close()


def nothing_lost(ref: ChunkRef, item: int | None) -> int:
    return 0


class Noted:
    """What was noted in the ledger; ``lost``: how often the worker was lost on an image."""

    def __init__(self) -> None:
        self.items: list[int | None] = []
        self.lost: dict[int, int] = {}

    def __call__(self, ref: ChunkRef, item: int | None) -> int:
        self.items.append(item)
        return 0 if item is None else self.lost.get(item, 0)


@pytest.fixture
def noted() -> Noted:
    return Noted()


def test_every_item_gets_its_own_answer_and_failed_ones_pass_through(
    ring: StagingRing, engine: FakeEngine, make_stage: MakeStage
) -> None:
    batch = staged(ring, 7, None, 9)
    result = result_of(make_stage(engine)(batch))
    assert labels(result) == ["7", "corrupt", "9"]
    assert [i.item for i in result.items] == [i.item for i in batch.items]
    assert [i.width for i in result.items] == [40, 41, 42]
    assert result.items[1].failure == CORRUPT
    assert [item.warning for item in result.items][:2] == ["damaged_data", None]
    assert result.ref == batch.ref
    assert (result.engine, result.precision, result.device) == ("torch", "float32", "fake")
    assert slot_is_free(ring)


def test_timings_ride_along(ring: StagingRing, engine: FakeEngine, make_stage: MakeStage) -> None:
    timings = result_of(make_stage(engine)(staged(ring, 1))).timings
    assert timings.decode_seconds == 2.5
    assert 0 < timings.device_seconds < 5
    assert 0 < timings.device_started_at <= timings.device_ended_at


def test_without_pixels_no_model_is_needed(ring: StagingRing, make_stage: MakeStage) -> None:
    def load(key: ModelKey) -> LoadedModel:
        raise AssertionError

    result = result_of(make_stage(load)(staged(ring, None, None)))
    assert labels(result) == ["corrupt", "corrupt"]
    assert result.engine is None


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
    parcels.put(ref, images_of(*firsts, pixels=PIXELS).ravel())
    items = [StagedItem(item=Item(key=f"{n}.jpg", etag="e", size=1)) for n in range(len(firsts))]
    return batch_of(items, Parcel(images=len(firsts)), chunk)


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
    failure = result.items[1].failure
    assert failure is not None
    assert failure.error_message == "ValueError: poisoned image"
    assert result.items[1].warning == "damaged_data"  # which may be why
    assert result.engine == "torch"
    assert slot_is_free(ring)


def test_a_wrong_count_of_outputs_is_told_of_the_whole_batch(
    ring: StagingRing, make_stage: MakeStage
) -> None:
    class Short(FakeEngine):
        def run(self, images):  # type: ignore[no-untyped-def]
            raise Miscounted(f"{len(images) - 1} outputs for {len(images)} images")

    result = result_of(make_stage(Short())(staged(ring, 1, None, 3)))
    assert labels(result) == ["model_error", "corrupt", "model_error"]
    for item in (result.items[0], result.items[2]):
        assert item.failure is not None
        assert item.failure.error_message.startswith("1 outputs for 2 images; for this image alone")


def test_answers_that_do_not_fit_into_a_message_fail_alone(
    ring: StagingRing, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Talkative(FakeEngine):
        def run(self, images):  # type: ignore[no-untyped-def]
            return ["x" * 1000 * int(image.flat[0]) for image in images]

    monkeypatch.setattr("workers.inference.answer_sizes.MAX_ANSWERS_BYTES", 4000)
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
    stage = InferenceStage(ring, None, loop, pins, nothing_lost, lambda *_: None, threading.Event())
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


def without_weights(key: ModelKey) -> LoadedModel:
    raise ModelUnusable("There is no tiny/model.onnx.", "Run 'headrace models pull tiny'.")


@pytest.mark.parametrize("losses", [0, SUSPECT_LOSSES])
def test_a_model_that_cannot_be_loaded_ends_its_job_at_once(
    ring: StagingRing,
    make_stage: MakeStage,
    stopped: list[str],
    losses: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def try_alone(*_: object) -> None:
        without_weights(ModelKey.of(PIPELINE))

    monkeypatch.setattr("workers.inference.stage.STOPPED_JOB_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("workers.inference.stage.try_alone", try_alone)
    stage = make_stage(without_weights)
    assert isinstance(stage(staged(ring, 1, None), losses), GiveBack)
    assert stopped == ["There is no tiny/model.onnx. Run 'headrace models pull tiny'."]
    assert slot_is_free(ring)


@pytest.mark.parametrize("losses", [0, SUSPECT_LOSSES])
def test_a_model_that_others_have_loaded_fails_every_image_with_the_reason(
    ring: StagingRing,
    make_stage: MakeStage,
    jobs: JobStore,
    stopped: list[str],
    losses: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def try_alone(*_: object) -> None:
        without_weights(ModelKey.of(PIPELINE))

    monkeypatch.setattr("workers.inference.stage.try_alone", try_alone)
    batch = staged(ring, 1, None)
    others = EngineChoice(engine="torch", precision="float32", device="cpu", reason="")
    jobs.settle_engine(batch.job_id, batch.job_uid, others)
    result = result_of(make_stage(without_weights)(batch, losses))
    assert stopped == []
    assert labels(result) == ["model_error", "corrupt"]
    failure = result.items[0].failure
    assert failure is not None
    assert failure.error_message.startswith("There is no tiny/model.onnx. Run")
    assert result.engine is None
    assert slot_is_free(ring)


def engine_of_precision(key: ModelKey) -> LoadedModel:
    """As a machine whose self-test prefers bfloat16."""
    engine = FakeEngine()
    engine.precision = "bfloat16" if key.precision == "auto" else key.precision
    return LoadedModel(engine, reason="fast")


def test_the_first_choice_is_recorded(
    ring: StagingRing, jobs: JobStore, make_stage: MakeStage
) -> None:
    batch = staged(ring, 1)
    assert result_of(make_stage(engine_of_precision)(batch)).precision == "bfloat16"
    recorded = jobs.engine(batch.job_id, batch.job_uid)
    assert recorded is not None
    assert (recorded.engine, recorded.precision, recorded.reason) == ("torch", "bfloat16", "fast")


def test_another_machine_computes_in_the_precision_that_the_job_has(
    ring: StagingRing, jobs: JobStore, make_stage: MakeStage
) -> None:
    first = EngineChoice(engine="openvino", precision="float32", device="cpu", reason="")
    stage = make_stage(engine_of_precision)
    for n in range(2):
        batch = staged(ring, n, chunk=n)
        jobs.settle_engine(batch.job_id, batch.job_uid, first)
        result = result_of(stage(batch))
        assert (result.precision, labels(result)) == ("float32", [str(n)])
    assert jobs.engine(batch.job_id, batch.job_uid) == first


def test_a_store_that_does_not_answer_is_waited_for(
    ring: StagingRing, engine: FakeEngine, make_stage: MakeStage
) -> None:
    attempts: list[ModelKey] = []

    def load(key: ModelKey) -> LoadedModel:
        attempts.append(key)
        if len(attempts) < 3:
            raise TransientError("store_unavailable", "It does not answer.")
        return LoadedModel(engine)

    assert labels(result_of(make_stage(load)(staged(ring, 5)))) == ["5"]
    assert len(attempts) == 3


def test_stopping_ends_the_wait_for_the_store(
    ring: StagingRing, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.patience._STOPPING_GRACE_SECONDS", 0.01)
    stopping = threading.Event()

    def load(key: ModelKey) -> LoadedModel:
        stopping.set()
        raise TransientError("store_unavailable", "It does not answer.")

    assert isinstance(make_stage(load, stopping)(staged(ring, 5)), GiveBack)
    assert slot_is_free(ring)


@pytest.mark.parametrize("stops", [False, True])
def test_a_class_that_is_to_blame_ends_its_job_and_fails_no_image(
    ring: StagingRing,
    make_stage: MakeStage,
    stopped: list[str],
    monkeypatch: pytest.MonkeyPatch,
    stops: bool,
) -> None:
    def load(_: ModelKey) -> LoadedModel:
        raise ClassUnusable("'own:Own' cannot be constructed: own.py:3: OSError: no")

    monkeypatch.setattr("workers.inference.stage.STOPPED_JOB_PAUSE_SECONDS", 0.0)
    stopping = threading.Event()
    if stops:
        stopping.set()
    stage = make_stage(load, stopping)
    assert isinstance(stage(staged(ring, 1, 2)), GiveBack)
    assert stopped == ["'own:Own' cannot be constructed: own.py:3: OSError: no"]
    staged(ring, 3)  # the only slot is free


OWN = PIPELINE.model_copy(update={"model": class_model("own:Own")})


def suspect(stage: InferenceStage, batch: Batch) -> Forward | GiveBack:
    return stage(batch.model_copy(update={"pipeline": OWN}), SUSPECT_LOSSES)


def test_the_images_of_a_suspect_class_run_alone_and_are_noted(
    ring: StagingRing, make_stage: MakeStage, engine: FakeEngine, noted: Noted
) -> None:
    outcome = suspect(make_stage(engine), staged(ring, 3, None, POISON, 7))
    codes = [item.failure and item.failure.error_code for item in result_of(outcome).items]
    assert codes == [None, ItemErrorCode.CORRUPT, ItemErrorCode.MODEL_ERROR, None]
    assert noted.items == [0, 1, 2, None]
    assert engine.batches == [[3], [POISON], [7]]


def test_a_class_on_whose_image_workers_were_lost_ends_its_job(
    ring: StagingRing,
    make_stage: MakeStage,
    engine: FakeEngine,
    noted: Noted,
    stopped: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.inference.stage.STOPPED_JOB_PAUSE_SECONDS", 0.0)
    noted.lost[1] = MOST_LOST_RUNS
    assert isinstance(suspect(make_stage(engine), staged(ring, 3, 4, 5)), GiveBack)
    assert stopped == ["The worker died 5 times while 'own:Own' ran one image, alone."]
    assert engine.batches == [[3]]
