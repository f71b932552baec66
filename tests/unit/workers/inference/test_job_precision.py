"""A job's precision: who settles it, when, and what is loaded and computed in it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from shared.errors import TransientError
from shared.job import EngineChoice
from shared.job_store import JobStore
from shared.model import Precision, PrecisionPolicy
from shared.pipeline import Pipeline
from shared.staging import StagingRing
from tests.support.fake_engine import FakeEngine
from tests.support.inference_stages import MakeStage
from tests.support.samples import pipeline, prediction
from tests.support.staged_batches import PIPELINE, PIXELS, labels, result_of, slot_is_free, staged
from workers.inference.model_types import LoadedModel, ModelKey
from workers.runtime import Forward, GiveBack
from workers.suspects import SUSPECT_LOSSES, SuspectTrial
from workers.suspects.packet import Packet

# What another worker settled.
ELSEWHERE = EngineChoice(engine="openvino", precision="float32", device="cpu", reason="")


def small_pipeline(**changes: object) -> Pipeline:
    sizes = {"resize_shorter_pixels": PIXELS, "crop_pixels": PIXELS}
    return pipeline(preprocess=sizes, postprocess={"top_k": 1}, **changes)


def precision_of(outcome: Forward | GiveBack) -> str | None:
    used = result_of(outcome).computed["classes"]
    return used and used.precision


@pytest.fixture
def refusals(jobs: JobStore, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The store refuses to settle a precision until this list is empty, one entry a try."""
    settle, left = jobs.settle_engine, list[int]()

    def refuse_first(*asked: Any) -> EngineChoice:
        if left:
            left.pop()
            raise TransientError("store_unavailable", "It does not answer.")
        return settle(*asked)

    monkeypatch.setattr(jobs, "settle_engine", refuse_first)
    return left


def engine_of_precision(key: ModelKey) -> LoadedModel:
    """As a machine whose self-test prefers bfloat16."""
    engine = FakeEngine()
    engine.precision = "bfloat16" if key.precision == "auto" else key.precision
    return LoadedModel(engine, reason="fast")


def test_the_first_choice_is_recorded(
    ring: StagingRing, jobs: JobStore, make_stage: MakeStage
) -> None:
    batch = staged(ring, 1)
    assert precision_of(make_stage(engine_of_precision)(batch)) == "bfloat16"
    recorded = jobs.engine(batch.job_id, batch.job_uid, "classes")
    assert recorded is not None
    assert (recorded.engine, recorded.precision, recorded.reason) == ("torch", "bfloat16", "fast")


def test_another_machine_computes_in_the_precision_that_the_job_has(
    ring: StagingRing, jobs: JobStore, make_stage: MakeStage
) -> None:
    stage = make_stage(engine_of_precision)
    for n in range(2):
        batch = staged(ring, n, chunk=n)
        jobs.settle_engine(batch.job_id, batch.job_uid, "classes", ELSEWHERE)
        outcome = stage(batch)
        assert precision_of(outcome) == "float32"
        assert labels(result_of(outcome)) == [str(n)]
    assert jobs.engine(batch.job_id, batch.job_uid, "classes") == ELSEWHERE


def test_a_model_is_loaded_in_the_precision_that_is_settled_and_in_no_other(
    ring: StagingRing, jobs: JobStore, make_stage: MakeStage
) -> None:
    loaded: list[str] = []

    def load(key: ModelKey) -> LoadedModel:
        loaded.append(key.precision)
        return engine_of_precision(key)

    batch = staged(ring, 7)
    jobs.settle_engine(batch.job_id, batch.job_uid, "classes", ELSEWHERE)
    result_of(make_stage(load)(batch))
    assert loaded == ["float32"]


def test_where_another_settles_while_the_model_is_loaded_nothing_is_computed_twice(
    ring: StagingRing, jobs: JobStore, make_stage: MakeStage
) -> None:
    loaded: dict[str, FakeEngine] = {}
    batch = staged(ring, 7)

    def load(key: ModelKey) -> LoadedModel:
        jobs.settle_engine(batch.job_id, batch.job_uid, "classes", ELSEWHERE)
        model = engine_of_precision(key)
        assert isinstance(model.engine, FakeEngine)
        loaded[key.precision] = model.engine
        return model

    assert precision_of(make_stage(load)(batch)) == "float32"
    assert loaded["auto"].batches == []
    assert loaded["float32"].batches == [[7]]


def test_a_model_that_is_loaded_again_computes_in_the_same_precision(
    ring: StagingRing, make_stage: MakeStage
) -> None:
    """Though it would be chosen otherwise by then, as after an update of a library."""
    choices: list[Precision] = ["float32", "bfloat16"]
    loaded: list[FakeEngine] = []

    def load(key: ModelKey) -> LoadedModel:
        loaded.append(FakeEngine())
        loaded[-1].precision = choices.pop() if key.precision == "auto" else key.precision
        return LoadedModel(loaded[-1])

    stage = make_stage(load)
    assert precision_of(stage(staged(ring, 1))) == "bfloat16"
    loaded[0].dead = True  # type: ignore[attr-defined]
    assert precision_of(stage(staged(ring, 3))) == "bfloat16"
    assert len(loaded) == 2


def test_no_row_has_another_precision_than_its_job(
    ring: StagingRing, jobs: JobStore, make_stage: MakeStage
) -> None:
    def load(_: ModelKey) -> LoadedModel:
        engine = FakeEngine()
        engine.precision = "bfloat16"  # whatever is asked for
        return LoadedModel(engine)

    batch = staged(ring, 7)
    jobs.settle_engine(batch.job_id, batch.job_uid, "classes", ELSEWHERE)
    assert isinstance(make_stage(load)(batch), GiveBack)
    assert slot_is_free(ring)


def test_a_child_has_its_model_loaded_once_however_long_the_store_is_away(
    ring: StagingRing,
    make_stage: MakeStage,
    refusals: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusals[:] = [1, 2, 3]
    loads: list[object] = []

    def ready(trial: SuspectTrial[object]) -> Packet:
        loads.append(trial)
        return Packet({"engines": {"classes": ELSEWHERE.model_dump(mode="json")}})

    monkeypatch.setattr(SuspectTrial, "ready", ready)
    answer = pa.array([prediction("a")], PIPELINE.analyses["classes"].answer_type())
    row = pa.RecordBatch.from_arrays([answer], ["classes"])
    monkeypatch.setattr(SuspectTrial, "run", lambda *_: row)
    stage = make_stage(FakeEngine())
    assert labels(result_of(stage(staged(ring, 5), SUSPECT_LOSSES))) == ["a"]
    assert (len(loads), refusals) == (1, [])


@pytest.mark.parametrize("asked", ["auto", "float32"])
def test_a_store_that_cannot_record_the_choice_costs_no_second_run(
    ring: StagingRing,
    engine: FakeEngine,
    make_stage: MakeStage,
    refusals: list[int],
    asked: PrecisionPolicy,
) -> None:
    refusals[:] = [1, 2]
    batch = staged(ring, 5, pipeline=small_pipeline(precision=asked))
    assert labels(result_of(make_stage(engine)(batch))) == ["5"]
    assert engine.batches == [[5]]
    assert refusals == []
