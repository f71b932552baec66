"""The stage on pipelines in the long form: rows, choices of engines, and who ends a job."""

from __future__ import annotations

import pytest

from shared.job import EngineChoice, EngineUsed
from shared.job_store import JobStore
from shared.stages import PREPROCESS
from shared.staging import StagingRing
from tests.support.fake_engine import POISON
from tests.support.inference_stages import MakeStage
from tests.support.many_answers import MANY, MIXED, Engines, with_colours
from tests.support.samples import answers
from tests.support.staged_batches import (
    CORRUPT,
    batch_of,
    messages,
    result_of,
    slot_is_free,
    staged,
)
from workers.inference.answering import Answers
from workers.inference.errors import HostUnable, ModelUnusable
from workers.inference.model_types import LoadedModel, ModelKey
from workers.runtime import GiveBack
from workers.suspects import SUSPECT_LOSSES

FAKE = EngineUsed(engine="torch", precision="float32", device="fake")
ELSEWHERE = EngineChoice(engine="openvino", precision="float32", device="cpu", reason="")


def test_each_view_is_read_from_its_place(ring: StagingRing, make_stage: MakeStage) -> None:
    engines = Engines()
    result = result_of(make_stage(engines)(staged(ring, 7, None, POISON, 9, pipeline=MANY)))
    assert {image.shape for image in engines.loaded["tiny", 8].inputs[0]} == {(4, 8, 3)}
    assert messages(result) == [
        *(None, CORRUPT.error_message),
        *("kinds: ValueError: poisoned image", None),
    ]
    assert result.answers["style"].to_pylist() == [[7, 1], None, None, [9, 1]]
    assert result.computed == dict.fromkeys(MANY.analyses, FAKE)
    assert slot_is_free(ring)


def test_each_analysis_has_its_choice_recorded(
    ring: StagingRing, make_stage: MakeStage, jobs: JobStore
) -> None:
    batch = staged(ring, 7, pipeline=MIXED)
    result = result_of(make_stage(Engines())(batch))
    recorded = {name: jobs.engine(batch.job_id, batch.job_uid, name) for name in MIXED.analyses}
    assert [choice and choice.precision for choice in recorded.values()] == [None, *["float32"] * 4]
    assert {name: used and used.precision for name, used in result.computed.items()} == {
        name: choice and choice.precision for name, choice in recorded.items()
    }


def test_answers_of_the_stage_before_ride_along(ring: StagingRing, make_stage: MakeStage) -> None:
    pipeline = with_colours(MANY)
    blue = [{"hex": "#0000ff", "share": 1.0, "name": "blue"}]
    batch = staged(ring, 7, POISON, pipeline=pipeline)
    before = answers(pipeline, PREPROCESS, {"colours": blue}, {"colours": blue})
    result = result_of(make_stage(Engines())(batch.model_copy(update={"answers": before})))
    assert result.answers["colours"].to_pylist() == [blue, None]
    assert result.answers["kinds"].to_pylist()[0]["class_index"] == 7
    assert "colours" not in result.computed


def test_a_chunk_without_good_images_goes_on_at_once(make_stage: MakeStage) -> None:
    def load(key: ModelKey) -> LoadedModel:
        raise AssertionError

    result = result_of(
        make_stage(load)(batch_of(answers(MANY, PREPROCESS, CORRUPT), None, 1, MANY))
    )
    assert result.computed == dict.fromkeys(MANY.analyses)
    assert messages(result) == [CORRUPT.error_message]
    assert result.scored_at > 0


def without(name: str, error: ModelUnusable) -> object:
    """Loads all models but one."""
    engines = Engines()

    def load(key: ModelKey) -> LoadedModel:
        if key.model.name == name:
            raise type(error)(*error.args)
        return engines(key)

    return load


@pytest.mark.parametrize("losses", [0, SUSPECT_LOSSES])
def test_a_model_that_nobody_has_loaded_ends_the_job_whatever_else_is_settled(
    ring: StagingRing,
    make_stage: MakeStage,
    jobs: JobStore,
    stopped: list[str],
    monkeypatch: pytest.MonkeyPatch,
    losses: int,
) -> None:
    def answer(*_: object) -> Answers:
        error = ModelUnusable("There is no second.")
        error.analyses = ("others",)
        raise error

    monkeypatch.setattr("workers.inference.stage.STOPPED_JOB_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("workers.inference.suspects.ChildAnalyst.answer", answer)
    stage = make_stage(without("second", ModelUnusable("There is no second.")))
    batch = staged(ring, 7, pipeline=MANY)
    jobs.settle_engine(batch.job_id, batch.job_uid, "kinds", ELSEWHERE)
    assert isinstance(stage(batch, losses), GiveBack)
    assert stopped == ["There is no second."]


@pytest.mark.parametrize("error", [ModelUnusable("No."), HostUnable("No.")])
def test_a_model_that_others_have_loaded_fails_the_images_here(
    ring: StagingRing,
    make_stage: MakeStage,
    jobs: JobStore,
    stopped: list[str],
    error: ModelUnusable,
) -> None:
    batch = staged(ring, 7, None, pipeline=MANY)
    jobs.settle_engine(batch.job_id, batch.job_uid, "others", ELSEWHERE)
    result = result_of(make_stage(without("second", error))(batch))
    assert messages(result) == ["No.", CORRUPT.error_message]
    assert result.computed == dict.fromkeys(MANY.analyses)
    assert stopped == []
