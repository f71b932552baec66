"""How the stage waits for the store, and ends jobs."""

from __future__ import annotations

import threading

import pytest

from shared.errors import TransientError
from shared.job import EngineChoice
from shared.job_store import JobStore
from shared.limits import MAX_CHUNK_ITEMS
from shared.staging import StagingRing
from tests.support.fake_engine import POISON, FakeEngine
from tests.support.inference_stages import MakeStage, Noted
from tests.support.many_answers import OwnEngine
from tests.support.samples import class_model, pipeline
from tests.support.staged_batches import (
    PIPELINE,
    PIXELS,
    labels,
    messages,
    result_of,
    slot_is_free,
    staged,
)
from workers.inference.errors import ClassUnusable, HostUnable, ModelUnusable
from workers.inference.model_types import LoadedModel, ModelKey
from workers.runtime import GiveBack
from workers.suspects import MAX_LOST_RUNS, SUSPECT_LOSSES


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
    def answer(*_: object) -> None:
        without_weights(ModelKey.of(PIPELINE, "classes"))

    monkeypatch.setattr("workers.inference.stage.STOPPED_JOB_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("workers.inference.suspects.ChildAnalyst.answer", answer)
    stage = make_stage(without_weights)
    assert isinstance(stage(staged(ring, 1, None), losses), GiveBack)
    assert stopped == ["There is no tiny/model.onnx. Run 'headrace models pull tiny'."]
    assert slot_is_free(ring)


@pytest.mark.parametrize("losses", [0, SUSPECT_LOSSES])
def test_a_machine_that_cannot_load_the_model_ends_no_job(
    ring: StagingRing,
    make_stage: MakeStage,
    stopped: list[str],
    losses: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer(*_: object) -> None:
        raise HostUnable("There is no room.", "Make some.")

    monkeypatch.setattr("workers.inference.suspects.ChildAnalyst.answer", answer)
    stage = make_stage(answer)
    for n in range(2):  # the second is refused without a try
        result = result_of(stage(staged(ring, 1, None, chunk=n), losses))
        assert labels(result) == ["model_error", "corrupt"]
        assert messages(result)[0] == "There is no room. Make some."
        assert slot_is_free(ring)
    assert stopped == []


@pytest.mark.parametrize("losses", [0, SUSPECT_LOSSES])
def test_a_model_that_others_have_loaded_fails_every_image_with_the_reason(
    ring: StagingRing,
    make_stage: MakeStage,
    jobs: JobStore,
    stopped: list[str],
    losses: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer(*_: object) -> None:
        without_weights(ModelKey.of(PIPELINE, "classes"))

    monkeypatch.setattr("workers.inference.suspects.ChildAnalyst.answer", answer)
    batch = staged(ring, 1, None)
    others = EngineChoice(engine="torch", precision="float32", device="cpu", reason="")
    jobs.settle_engine(batch.job_id, batch.job_uid, "classes", others)
    result = result_of(make_stage(without_weights)(batch, losses))
    assert stopped == []
    assert labels(result) == ["model_error", "corrupt"]
    assert str(messages(result)[0]).startswith("There is no tiny/model.onnx. Run")
    assert result.computed == {"classes": None}
    assert slot_is_free(ring)


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


def test_what_does_not_answer_is_not_waited_for_beyond_a_stages_patience(
    ring: StagingRing, make_stage: MakeStage, caplog: pytest.LogCaptureFixture
) -> None:
    def load(key: ModelKey) -> LoadedModel:
        raise TransientError("store_unavailable", "It does not answer.")

    stage = make_stage(load, patience_seconds=0.01)
    assert isinstance(stage(staged(ring, 5)), GiveBack)
    assert "chunk 1 of job is given back: It does not answer." in caplog.messages
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


OWN = pipeline(
    model=class_model("own:Own"),
    preprocess={"resize_shorter_pixels": PIXELS, "crop_pixels": PIXELS},
)


def test_the_images_of_a_suspect_class_run_alone_and_are_noted(
    ring: StagingRing, make_stage: MakeStage, noted: Noted
) -> None:
    engine = OwnEngine()
    outcome = make_stage(engine)(staged(ring, 3, None, POISON, 7, pipeline=OWN), SUSPECT_LOSSES)
    assert labels(result_of(outcome)) == ["3", "corrupt", "model_error", "7"]
    assert noted.items == [*(MAX_CHUNK_ITEMS + image for image in range(3)), None]
    assert engine.batches == [[3], [POISON], [7]]


def test_a_class_on_whose_image_workers_were_lost_ends_its_job(
    ring: StagingRing,
    make_stage: MakeStage,
    noted: Noted,
    stopped: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = OwnEngine()
    monkeypatch.setattr("workers.inference.stage.STOPPED_JOB_PAUSE_SECONDS", 0.0)
    noted.lost[MAX_CHUNK_ITEMS + 1] = MAX_LOST_RUNS
    outcome = make_stage(engine)(staged(ring, 3, 4, 5, pipeline=OWN), SUSPECT_LOSSES)
    assert isinstance(outcome, GiveBack)
    assert stopped == ["The worker died 5 times while 'own:Own' ran one image, alone."]
    assert engine.batches == [[3]]
